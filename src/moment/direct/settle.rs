//! Whether pushes have ended: a cursor follows the decisions behind which nothing waits any more, and counts them.

use super::cancel::{refuse_held, stop_messages};
use super::spec::Kind;
use super::store::{self, OpenRow, Settled};
use super::tally::Tally;
use super::{State, personal};
use crate::error::Result;
use crate::id::UserId;
use crate::moment::commit::{is_stale, stale};
use crate::moment::live::Parts;
use crate::store::Conn;
use crate::webhook::{self, Event};
use crate::worker::Progress;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// Pushes of one step.
const PUSHES: i64 = 100;
/// Decisions that are looked at at once.
const DECISIONS: i64 = 500;

/// How far the cursor of a push can move.
struct Look {
    row: OpenRow,
    cursor: Option<UserId>,
    tally: Tally,
    /// Whether nothing of it waits.
    over: bool,
    /// Whether there may be more behind what was looked at.
    more: bool,
}

/// One step: some of the pushes that have not ended, in turn.
pub(in crate::moment) async fn step(parts: &Arc<Parts>) -> Result<Progress> {
    let (app, id) = parts.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (platform, now_ms) = (&parts.platform, parts.platform.clock.now_ms());
    let looks: Vec<Look> = platform
        .store
        .read(move |conn| {
            let rows = store::open_after(conn, (&app, &id), PUSHES)?;
            rows.into_iter().map(|row| look(conn, row)).collect()
        })
        .await?;
    let round = i64::try_from(looks.len()).is_ok_and(|n| n < PUSHES);
    let last = looks.last().filter(|_| !round).map(|look| (look.row.app_id.to_string(), look.row.id.to_string()));
    *parts.looked.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_default();
    let mut moved = false;
    for look in looks {
        let cancelled = look.row.state()? == State::Cancelled;
        if cancelled && !look.over {
            // What a crash, or a caller who did not wait, has left of a cancellation.
            let (of, after) = ((look.row.app_id, look.row.id), look.cursor);
            platform.store.write(move |conn| refuse_held(conn, of, now_ms)).await?;
            let (stopped, _) = platform.store.write(move |conn| stop_messages(conn, of, after, now_ms)).await?;
            moved |= stopped > 0;
        }
        if look.over || look.more {
            match platform.store.write(move |conn| write(conn, &look, now_ms)).await {
                Ok(()) => moved = true,
                Err(error) if is_stale(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(if moved || !round { Progress::More } else { Progress::Idle })
}

/// Follows the decisions of a push as far as everything has ended, at most to the end of one batch.
fn look(conn: &mut Conn, row: OpenRow) -> Result<Look> {
    let mut look = Look { cursor: row.cursor_user_id, tally: row.settled.0.clone(), over: false, more: false, row };
    let of = (look.row.app_id, look.row.id);
    let from = look.cursor.map(|user| user.to_string()).unwrap_or_default();
    let decided = store::decided(conn, of, (&from, false), DECISIONS)?;
    let ids: Vec<_> = decided.iter().map(|one| one.id).collect();
    let mut fates: HashMap<_, Vec<(String, Option<String>)>> = HashMap::new();
    for (decision, state, reason) in store::fates(conn, of.0, &ids)? {
        fates.entry(decision).or_default().push((state, reason));
    }
    let full = i64::try_from(decided.len()).is_ok_and(|n| n == DECISIONS);
    for one in decided {
        let mut own = Tally::default();
        own.decided((&one.outcome, one.reason.as_deref()), 1);
        for (state, reason) in fates.remove(&one.id).into_iter().flatten() {
            own.sent((&state, reason.as_deref()), 1);
        }
        if own.waits() {
            return Ok(look);
        }
        (look.tally, look.cursor, look.more) = (look.tally.and(&own), Some(one.user_id), full);
    }
    look.over = !full;
    Ok(look)
}

fn write(conn: &mut Conn, look: &Look, now_ms: i64) -> Result<()> {
    let state = match look.row.state()? {
        State::Cancelled => State::Cancelled,
        State::Scheduled | State::Running | State::Done if look.over => State::Done,
        before @ (State::Scheduled | State::Running | State::Done) => before,
    };
    let ended_ms = look.over.then_some(now_ms);
    let to = Settled { cursor: look.cursor, tally: &look.tally, state, ended_ms };
    if !store::settle(conn, &look.row, &to)? {
        return Err(stale());
    }
    if look.over {
        let (app, id) = (look.row.app_id, look.row.id);
        store::clear(conn, app, id)?;
        metrics::counter!("kairos_direct_pushes_ended_total", "state" => state.name()).increment(1);
        let data = json!({ "push": id, "name": look.row.name, "state": state, "counts": look.tally.counts() });
        let event = Event { kind: "push.completed", at_ms: now_ms, once: id.to_string(), user: None, partner: None, data };
        webhook::emit(conn, app, &event)?;
        if look.tally.is_empty() {
            speechless(conn, look)?;
        }
    }
    Ok(())
}

/// A list about nobody of whom a decision tells: when they are erased nobody comes by here again, and its words may speak of
/// them. A push that came to those who were erased goes with them, see `personal`; one that came to nobody stays for its
/// sender to read, without its words.
fn speechless(conn: &mut Conn, look: &Look) -> Result<()> {
    let (app, id) = (look.row.app_id, look.row.id);
    let Some(row) = store::get(conn, app, id)?.filter(|row| matches!(row.spec.0.audience, Kind::List { .. })) else {
        return Ok(());
    };
    if row.visited > 0 { personal::forget_empty(conn, app, &[id]) } else { store::blank(conn, &row) }
}

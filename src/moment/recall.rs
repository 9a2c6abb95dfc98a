//! Taking back what was said: by hand, when a moment is over, or all that a campaign or a direct push has shown.

use super::commit::{LOCK, stale};
use super::decision::Reason;
use super::live::Parts;
use super::release;
use super::store::{self, CampaignRecall};
use crate::clock::{DAY_MS, MINUTE_MS};
use crate::error::Result;
use crate::id::{AppId, CampaignId, DecisionId, Ids, MessageId, MomentId};
use crate::platform::Platform;
use crate::push::recall::{BATCH, Recalled, recall};
use crate::store::Conn;
use crate::worker::Progress;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Moments of one step.
const MOMENTS: i64 = 200;
/// Messages that one step of a walk looks at.
const LOOKED_AT: i64 = 2_000;
/// A walk goes back this far, in milliseconds: what is older is on no phone that was switched on since.
const BACK_MS: i64 = 30 * DAY_MS;

/// Takes back what a decision has said and what it still holds.
///
/// # Errors
/// What the database says.
pub(super) fn decision(conn: &mut Conn, (app, id): (AppId, DecisionId), (ids, now_ms): (&Ids, i64)) -> Result<Recalled> {
    conn.serialise(LOCK)?;
    let held = store::held_of_decision(conn, app, id)?;
    for (choice, planned_ms) in &held {
        let said = json!({ "at_ms": now_ms, "reason": Reason::Cancelled.name() });
        release::refuse(conn, app, (id, *choice, *planned_ms), (Reason::Cancelled, &said))?;
    }
    let of = store::messages_of(conn, app, &[id])?;
    let done = all(conn, app, &of, (ids, now_ms))?;
    Ok(Recalled { cancelled: done.cancelled + held.len(), ..done })
}

/// Begins the walk through what a campaign, or a direct push under the id that it has as one, has shown until now; one that
/// is under way goes on.
///
/// # Errors
/// What the database says.
pub(super) fn begin(conn: &mut Conn, (app_id, campaign_id): (AppId, CampaignId), now_ms: i64) -> Result<CampaignRecall> {
    // Who asks at the same time sees what the other did.
    conn.serialise(&format!("campaign_recall:{campaign_id}"))?;
    if let Some(open) = store::campaign_recall(conn, app_id, campaign_id)?.filter(|row| row.done_ms.is_none()) {
        return Ok(open);
    }
    // Before it was made it has said nothing. The clocks of two nodes may differ, and ids of one instant may run a little
    // ahead of the clock.
    let since_ms = (now_ms - BACK_MS).max(campaign_id.made_ms() - MINUTE_MS);
    let row = CampaignRecall {
        app_id,
        campaign_id,
        cursor_id: MessageId::floor(since_ms),
        end_id: MessageId::floor(now_ms + MINUTE_MS),
        recalled: 0,
        asked_ms: now_ms,
        done_ms: None,
    };
    store::put_campaign_recall(conn, &row)?;
    Ok(row)
}

/// One step of the worker: moments that are over, then the next stretch of a campaign. Apps take turns.
pub(super) async fn step(parts: &Parts) -> Result<Progress> {
    let (platform, now_ms) = (&parts.platform, parts.platform.clock.now_ms());
    let last = parts.recalled.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (due, next_ms, walk) = platform
        .store
        .read(move |conn| {
            let walk = store::open_walk(conn, &last)?;
            Ok((store::due_moments(conn, now_ms, MOMENTS)?, store::next_recall_ms(conn)?, walk))
        })
        .await?;
    if due.is_empty() && walk.is_none() {
        return Ok(next_ms.map_or(Progress::Idle, Progress::Until));
    }
    if let Some(walk) = &walk {
        *parts.recalled.lock().unwrap_or_else(PoisonError::into_inner) = walk.app_id.to_string();
    }
    let ids = platform.ids.clone();
    let done = platform
        .store
        .write(move |conn| {
            let mut done = moments(conn, due, (&ids, now_ms))?;
            if let Some(walk) = walk {
                done.add(stretch(conn, &walk, (&ids, now_ms))?);
            }
            Ok(done)
        })
        .await?;
    tell(platform, done);
    Ok(Progress::More)
}

/// Wakes those who have something to do after a recall.
pub(super) fn tell(platform: &Platform, done: Recalled) {
    if done.recalled > 0 {
        platform.push_hint.nudge();
    }
    // What was stopped and may have arrived is no longer counted as cancelled, and has ended all the same.
    platform.feedback_hint.nudge();
}

fn moments(conn: &mut Conn, due: Vec<(AppId, MomentId)>, at: (&Ids, i64)) -> Result<Recalled> {
    let mut by_app: BTreeMap<AppId, Vec<MomentId>> = BTreeMap::new();
    for (app, moment) in due {
        by_app.entry(app).or_default().push(moment);
    }
    let mut done = Recalled::default();
    for (app, over) in by_app {
        let shown = store::shown_by(conn, app, &over)?;
        done.add(all(conn, app, &shown, at)?);
        store::recalls_done(conn, app, &over)?;
    }
    Ok(done)
}

/// The next stretch of the walk through what a campaign has shown.
fn stretch(conn: &mut Conn, walk: &CampaignRecall, (ids, now_ms): (&Ids, i64)) -> Result<Recalled> {
    let met = store::walked(conn, walk, LOOKED_AT)?;
    let own: Vec<MessageId> = met.iter().filter(|(_, of)| *of == walk.campaign_id).map(|(id, _)| *id).collect();
    let done = all(conn, walk.app_id, &own, (ids, now_ms))?;
    let mut on = walk.clone();
    on.recalled += i64::try_from(done.recalled).unwrap_or(0);
    match met.last() {
        Some((last, _)) => on.cursor_id = last.to_string(),
        None => on.done_ms = Some(now_ms),
    }
    // Another node may have walked it meanwhile.
    if store::note_walked(conn, walk, &on)? { Ok(done) } else { Err(stale()) }
}

fn all(conn: &mut Conn, app: AppId, messages: &[MessageId], at: (&Ids, i64)) -> Result<Recalled> {
    let mut done = Recalled::default();
    for chunk in messages.chunks(BATCH) {
        done.add(recall(conn, app, chunk, at)?);
    }
    Ok(done)
}

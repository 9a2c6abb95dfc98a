//! What waits: found, claimed, ended, allowed anew.

use super::{CHUNK, Claimed, STILL_WAITS, WAITS, ended, mode};
use crate::error::{Error, Result};
use crate::id::{AppId, DecisionId, DeviceId, MessageId, UserId};
use crate::on;
use crate::push::message::{Allowed, Mode, Push, State};
use crate::push::route::Queue;
use crate::push::wish::What;
use crate::store::schema::{message_bodies, message_states};
use crate::store::{Among, Conn, Doc, among, among_numbers};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use std::collections::HashMap;

/// Where something waits, and since or until when the first of it is due.
#[derive(Debug, QueryableByName)]
pub(in crate::push) struct Waiting {
    #[diesel(sql_type = Text)]
    pub(in crate::push) app_id: AppId,
    #[diesel(sql_type = Text)]
    pub(in crate::push) route: String,
    #[diesel(sql_type = BigInt)]
    pub(in crate::push) due_ms: i64,
}

/// The first waiting message of each app and route: one step along the index each, however long the queues are. The
/// next route of the same app and the next app are asked for apart: compared as a pair, SQLite would walk the whole queue.
pub(in crate::push) fn waiting(conn: &mut Conn) -> Result<Vec<Waiting>> {
    let query = format!(
        "select app_id, route, due_ms from (select app_id, route, due_ms from message_states where {WAITS} and app_id = $1 \
         and route > $2 order by route, due_ms limit 1) as of_this_app union all \
         select app_id, route, due_ms from (select app_id, route, due_ms from message_states where {WAITS} and app_id > $1 \
         order by app_id, route, due_ms limit 1) as of_the_next order by app_id, route limit 1"
    );
    let mut all: Vec<Waiting> = Vec::new();
    loop {
        let (app, route) = all.last().map_or((String::new(), String::new()), |w| (w.app_id.to_string(), w.route.clone()));
        let next: Option<Waiting> = on!(conn, c => diesel::sql_query(&query)
            .bind::<Text, _>(app)
            .bind::<Text, _>(route)
            .get_result(c)
            .optional())?;
        match next {
            Some(waiting) => all.push(waiting),
            None => return Ok(all),
        }
    }
}

/// How many messages wait.
pub(in crate::push) fn depth(conn: &mut Conn) -> Result<i64> {
    Ok(on!(conn, c => message_states::table.filter(sql::<Bool>(WAITS)).count().get_result(c))?)
}

/// A due message.
pub(in crate::push) struct Due {
    pub(in crate::push) n: i64,
    pub(in crate::push) id: MessageId,
    pub(in crate::push) user_id: UserId,
    pub(in crate::push) device_id: DeviceId,
    pub(in crate::push) token: String,
    pub(in crate::push) deadline_ms: i64,
    pub(in crate::push) epochs: (i64, i64),
    /// When its consent ends by itself.
    pub(in crate::push) until_ms: Option<i64>,
    pub(in crate::push) attempt: i64,
    pub(in crate::push) created_ms: i64,
    /// The message that it takes back; "": none.
    recalls: String,
    /// The Live Activity that it is about; "": none.
    activity_id: String,
    pub(in crate::push) topic: Option<String>,
    head: Option<String>,
    payload: String,
    collapse_id: String,
    mode: Mode,
    consent: String,
    attempts: String,
}

impl Due {
    pub(in crate::push) fn allowed(&self) -> Result<Allowed> {
        serde_json::from_str(&self.consent).map_err(Error::broken)
    }

    /// The message that it takes back from the phone.
    pub(in crate::push) fn recalls(&self) -> Option<MessageId> {
        if self.recalls.is_empty() { None } else { self.recalls.parse().ok() }
    }

    /// Whether its token is one of a Live Activity, not the device's.
    pub(in crate::push) fn is_activity(&self) -> bool {
        !self.activity_id.is_empty()
    }

    pub(in crate::push) fn what(&self) -> Result<What<'_>> {
        serde_json::from_str(&self.consent).map_err(Error::broken)
    }

    pub(in crate::push) fn claimed(self, (app_id, queue): (AppId, &Queue), now_ms: i64) -> Claimed {
        Claimed {
            n: self.n,
            app_id,
            user_id: self.user_id,
            device_id: self.device_id,
            gateway: queue.route.gateway,
            activity: self.is_activity(),
            push: Push {
                id: self.id,
                token: self.token,
                topic: self.topic,
                collapse_id: self.collapse_id,
                deadline_ms: self.deadline_ms,
                consent_until_ms: self.until_ms,
                head: self.head,
                payload: self.payload.into(),
            },
            mode: self.mode,
            bulk: queue.bulk,
            attempt: self.attempt + 1,
            started_ms: now_ms,
            attempts: self.attempts,
        }
    }
}

/// Where a due message stands.
type States = (i64, Option<String>, i64, String, i64, Option<i64>);
/// What it says.
type Bodies =
    ((i64, MessageId, UserId, DeviceId, String, String, Option<String>, String), (String, String, i64, i64, i64, String, String));

/// Messages that are due, the longest due first. On PostgreSQL their states are locked, and those that another node has
/// locked are left to it; therefore their words are asked for apart.
pub(in crate::push) fn due(conn: &mut Conn, app: AppId, queue: &Queue, (now_ms, limit): (i64, usize)) -> Result<Vec<Due>> {
    let of_queue = message_states::app_id.eq(app).and(message_states::route.eq(queue.word()));
    let query = message_states::table
        .filter(of_queue.and(message_states::due_ms.le(now_ms)).and(sql::<Bool>(WAITS)))
        .order((message_states::due_ms, message_states::n))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((
            message_states::n,
            message_states::topic,
            message_states::attempt,
            message_states::attempts,
            message_states::deadline_ms,
            message_states::consent_until_ms,
        ));
    let states: Vec<States> = match conn {
        Conn::Sqlite(c) => query.load(c)?,
        Conn::Postgres(c) => query.for_update().skip_locked().load(c)?,
    };
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let mut bodies = bodies(conn, states.iter().map(|state| state.0))?;
    let (mut whole, mut lost) = (Vec::with_capacity(states.len()), Vec::new());
    for state in states {
        match bodies.remove(&state.0) {
            Some(body) => whole.push(read(state, body)?),
            None => lost.push(state.0),
        }
    }
    if !lost.is_empty() {
        // Nobody can send or show them, and they would be the first of their queue for ever.
        tracing::error!(messages = lost.len(), "states without messages were found in the outbox and removed");
        on!(conn, c => diesel::delete(message_states::table.filter(those(&lost))).execute(c))?;
    }
    Ok(whole)
}

/// Waits until nobody claims or settles the messages of these decisions, and keeps others from doing so: who deletes
/// messages takes their locks in the order of all others.
pub(in crate::push) fn lock(conn: &mut Conn, app: AppId, of: &[DecisionId]) -> Result<()> {
    let of = message_bodies::app_id.eq(app).and(among(message_bodies::decision_id, of));
    let states = message_states::table
        .filter(message_states::n.eq_any(message_bodies::table.filter(of).select(message_bodies::n)))
        .order(message_states::n)
        .select(message_states::n);
    match conn {
        // It has one writer.
        Conn::Sqlite(_) => Ok(()),
        Conn::Postgres(c) => Ok(states.for_update().load::<i64>(c).map(drop)?),
    }
}

fn bodies(conn: &mut Conn, numbers: impl Iterator<Item = i64>) -> Result<HashMap<i64, Bodies>> {
    let rows: Vec<Bodies> = on!(conn, c => message_bodies::table
        .filter(among_numbers(message_bodies::n, numbers))
        .select((
            (
                message_bodies::n,
                message_bodies::id,
                message_bodies::user_id,
                message_bodies::device_id,
                message_bodies::token,
                message_bodies::payload,
                message_bodies::head,
                message_bodies::collapse_id,
            ),
            (
                message_bodies::mode,
                message_bodies::consent,
                message_bodies::consent_epoch,
                message_bodies::app_consent_epoch,
                message_bodies::created_ms,
                message_bodies::recalls,
                message_bodies::activity_id,
            ),
        ))
        .load(c))?;
    Ok(rows.into_iter().map(|row| (row.0.0, row)).collect())
}

fn read((n, topic, attempt, attempts, deadline_ms, until_ms): States, body: Bodies) -> Result<Due> {
    let ((_, id, user_id, device_id, token, payload, head, collapse_id), rest) = body;
    let (word, consent, consent_epoch, app_consent_epoch, created_ms, recalls, activity_id) = rest;
    let epochs = (consent_epoch, app_consent_epoch);
    let mode = mode(&word)?;
    Ok(Due {
        n,
        id,
        user_id,
        device_id,
        token,
        deadline_ms,
        epochs,
        until_ms,
        topic,
        head,
        payload,
        collapse_id,
        mode,
        consent,
        attempt,
        attempts,
        created_ms,
        recalls,
        activity_id,
    })
}

/// Those of these numbers.
fn those(numbers: &[i64]) -> AmongNumbers {
    among_numbers(message_states::n, numbers.iter().copied())
}

type AmongNumbers = Among<message_states::n, i64>;

/// Moves due messages to `sending`, unless their deadline or the end of their consent has passed; answers how many were
/// moved.
pub(in crate::push) fn start(conn: &mut Conn, numbers: &[i64], now_ms: i64) -> Result<usize> {
    let consented = message_states::consent_until_ms.is_null().or(message_states::consent_until_ms.gt(now_ms));
    Ok(on!(conn, c => diesel::update(message_states::table
            .filter(those(numbers).and(sql::<Bool>(STILL_WAITS)))
            .filter(message_states::deadline_ms.gt(now_ms).and(consented)))
        .set((
            message_states::state.eq(State::Sending.word()),
            message_states::attempt.eq(message_states::attempt + 1),
            message_states::sending_ms.eq(now_ms),
        ))
        .execute(c))?)
}

/// Ends waiting messages, as `unknown` where they may have arrived. What is taken back says why it was stopped, too: then an
/// end as `unknown` does not hide that.
pub(in crate::push) fn end(conn: &mut Conn, (numbers, state, reason): (&[i64], State, &str), now_ms: i64) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let taken_back = matches!(state, State::Revoked | State::Cancelled);
    on!(conn, c => diesel::update(message_states::table.filter(those(numbers)))
        .set((
            message_states::state.eq(sql::<Text>(&ended(state))),
            message_states::reason.eq(reason),
            message_states::ended_ms.eq(now_ms),
            taken_back.then(|| message_states::stop_reason.eq(reason)),
        ))
        .execute(c))?;
    Ok(())
}

/// What of a queue is of these topics, some of it.
pub(in crate::push) fn of_topics(
    conn: &mut Conn,
    (app, queue): (AppId, &Queue),
    topics: &[String],
) -> Result<Vec<(i64, String)>> {
    let of_queue = message_states::app_id.eq(app).and(message_states::route.eq(queue.word()));
    let topic = message_states::topic.assume_not_null();
    Ok(on!(conn, c => message_states::table
        .filter(of_queue.and(sql::<Bool>(WAITS)))
        .filter(message_states::topic.is_not_null().and(among(topic, topics)))
        .limit(500)
        .select((message_states::n, topic))
        .load(c))?)
}

/// Lets those of these that wait do so in another queue.
pub(in crate::push) fn move_to(conn: &mut Conn, numbers: &[i64], queue: &Queue) -> Result<()> {
    on!(conn, c => diesel::update(message_states::table.filter(those(numbers).and(sql::<Bool>(STILL_WAITS))))
        .set(message_states::route.eq(queue.word()))
        .execute(c))?;
    Ok(())
}

/// Lets waiting messages wait on.
pub(in crate::push) fn postpone(conn: &mut Conn, (numbers, due_ms): (&[i64], i64)) -> Result<()> {
    on!(conn, c => diesel::update(message_states::table.filter(those(numbers)))
        .set((message_states::due_ms.eq(due_ms), message_states::reason.eq("quiet_hours")))
        .execute(c))?;
    Ok(())
}

/// What of a queue is due and has passed its deadline, a chunk at most. The whole queue is walked for it: ask in a read.
pub(in crate::push) fn late(conn: &mut Conn, (app, queue): (AppId, &Queue), now_ms: i64) -> Result<Vec<i64>> {
    let of_queue = message_states::app_id.eq(app).and(message_states::route.eq(queue.word()));
    Ok(on!(conn, c => message_states::table
        .filter(of_queue.and(message_states::due_ms.le(now_ms)))
        .filter(sql::<Bool>(WAITS).and(message_states::deadline_ms.le(now_ms)))
        .limit(i64::try_from(CHUNK).unwrap_or(i64::MAX))
        .select(message_states::n)
        .load(c))?)
}

/// Ends those of these that wait still; answers how many there were.
pub(in crate::push) fn expire(conn: &mut Conn, late: &[i64], now_ms: i64) -> Result<usize> {
    let late = those(late).and(message_states::deadline_ms.le(now_ms)).and(sql::<Bool>(STILL_WAITS));
    Ok(on!(conn, c => diesel::update(message_states::table.filter(late))
        .set((
            message_states::state.eq(sql::<Text>(&ended(State::Expired))),
            message_states::reason.eq("deadline"),
            message_states::ended_ms.eq(now_ms),
        ))
        .execute(c))?)
}

/// Writes the consent under which a waiting message may still go.
pub(in crate::push) fn allow(conn: &mut Conn, n: i64, (allowed, epochs): (&Allowed, (i64, i64))) -> Result<()> {
    let consent = Doc(allowed.clone());
    on!(conn, c => diesel::update(message_bodies::table.find(n))
        .set((
            message_bodies::consent.eq(&consent),
            message_bodies::consent_epoch.eq(epochs.0),
            message_bodies::app_consent_epoch.eq(epochs.1),
        ))
        .execute(c))?;
    on!(conn, c => diesel::update(message_states::table.find(n))
        .set(message_states::consent_until_ms.eq(allowed.until_ms))
        .execute(c))?;
    Ok(())
}

//! Broadcasts in the database: found, claimed, ended.

use crate::error::{Error, Result};
use crate::id::{AppId, BroadcastId, ChannelId};
use crate::on;
use crate::push::activity::Event;
use crate::push::channel::broadcast::Broadcast;
use crate::push::ending::Next;
use crate::push::message::{Attempt, Mode, State};
use crate::push::store::ended;
use crate::store::schema::broadcasts;
use crate::store::{Conn, Doc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

/// The condition of the index on what waits, word for word.
const WAITS: &str = "state in ('queued', 'retry_at')";
/// Nothing of the same channel is on its way.
const ALONE: &str = "not exists (select 1 from broadcasts as other where other.state = 'sending' \
    and other.app_id = broadcasts.app_id and other.channel_id = broadcasts.channel_id)";

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = broadcasts, treat_none_as_default_value = false)]
struct BroadcastRow {
    app_id: AppId,
    id: BroadcastId,
    channel_id: ChannelId,
    event: String,
    payload: String,
    priority: i64,
    keep_until_ms: i64,
    mode: String,
    state: String,
    reason: Option<String>,
    attempt: i64,
    attempts: Doc<Vec<Attempt>>,
    due_ms: i64,
    deadline_ms: i64,
    created_ms: i64,
    sending_ms: Option<i64>,
    ended_ms: Option<i64>,
    key_hash: Option<String>,
    body_hash: String,
}

impl BroadcastRow {
    fn broadcast(self) -> Result<Broadcast> {
        let unknown = |what: &str| Error::broken(format!("a broadcast has an unknown {what}"));
        Ok(Broadcast {
            app_id: self.app_id,
            id: self.id,
            channel_id: self.channel_id,
            event: Event::named(&self.event).ok_or_else(|| unknown("event"))?,
            payload: self.payload,
            priority: self.priority,
            keep_until_ms: self.keep_until_ms,
            mode: Mode::parse(&self.mode).ok_or_else(|| unknown("mode"))?,
            state: State::parse(&self.state).ok_or_else(|| unknown("state"))?,
            reason: self.reason,
            attempt: self.attempt,
            attempts: self.attempts.0,
            due_ms: self.due_ms,
            deadline_ms: self.deadline_ms,
            created_ms: self.created_ms,
            sending_ms: self.sending_ms,
            ended_ms: self.ended_ms,
            key_hash: self.key_hash,
            body_hash: self.body_hash,
        })
    }
}

pub(in crate::push::channel) fn add(conn: &mut Conn, broadcast: &Broadcast) -> Result<()> {
    let broadcast = broadcast.clone();
    let row = BroadcastRow {
        app_id: broadcast.app_id,
        id: broadcast.id,
        channel_id: broadcast.channel_id,
        event: broadcast.event.name().to_owned(),
        payload: broadcast.payload,
        priority: broadcast.priority,
        keep_until_ms: broadcast.keep_until_ms,
        mode: broadcast.mode.word().to_owned(),
        state: broadcast.state.word().to_owned(),
        reason: broadcast.reason,
        attempt: broadcast.attempt,
        attempts: Doc(broadcast.attempts),
        due_ms: broadcast.due_ms,
        deadline_ms: broadcast.deadline_ms,
        created_ms: broadcast.created_ms,
        sending_ms: broadcast.sending_ms,
        ended_ms: broadcast.ended_ms,
        key_hash: broadcast.key_hash,
        body_hash: broadcast.body_hash,
    };
    on!(conn, c => diesel::insert_into(broadcasts::table).values(&row).execute(c))?;
    Ok(())
}

pub(in crate::push::channel) fn broadcast(conn: &mut Conn, app: AppId, id: BroadcastId) -> Result<Option<Broadcast>> {
    let row: Option<BroadcastRow> =
        on!(conn, c => broadcasts::table.find((app, id)).select(BroadcastRow::as_select()).first(c).optional())?;
    row.map(BroadcastRow::broadcast).transpose()
}

/// The broadcast that came with this `Idempotency-Key`.
pub(in crate::push::channel) fn known(conn: &mut Conn, app: AppId, key_hash: Option<&str>) -> Result<Option<Broadcast>> {
    let Some(key_hash) = key_hash else { return Ok(None) };
    let row: Option<BroadcastRow> = on!(conn, c => broadcasts::table
        .filter(broadcasts::app_id.eq(app).and(broadcasts::key_hash.eq(key_hash)))
        .select(BroadcastRow::as_select())
        .first(c)
        .optional())?;
    row.map(BroadcastRow::broadcast).transpose()
}

/// Broadcasts of a channel after an id.
pub(in crate::push::channel) fn of_channel(
    conn: &mut Conn,
    (app, channel): (AppId, ChannelId),
    page: (&str, i64),
) -> Result<Vec<Broadcast>> {
    let (after, rows) = page;
    let found: Vec<BroadcastRow> = on!(conn, c => broadcasts::table
        .filter(broadcasts::app_id.eq(app).and(broadcasts::channel_id.eq(channel)).and(broadcasts::id.gt(after)))
        .order(broadcasts::id)
        .limit(rows)
        .select(BroadcastRow::as_select())
        .load(c))?;
    found.into_iter().map(BroadcastRow::broadcast).collect()
}

/// Ends what waits on a channel, and keeps what is on its way from being tried again.
pub(in crate::push::channel) fn supersede(conn: &mut Conn, channel: (AppId, ChannelId), now_ms: i64) -> Result<()> {
    stop(conn, channel, ("superseded", now_ms))
}

pub(in crate::push::channel) fn stop(
    conn: &mut Conn,
    (app, channel): (AppId, ChannelId),
    (reason, now_ms): (&str, i64),
) -> Result<()> {
    let of_channel = broadcasts::app_id.eq(app).and(broadcasts::channel_id.eq(channel));
    on!(conn, c => diesel::update(broadcasts::table.filter(of_channel.and(broadcasts::state.eq("sending"))))
        .set(broadcasts::stop_reason.eq(reason))
        .execute(c))?;
    on!(conn, c => diesel::update(broadcasts::table.filter(of_channel.and(sql::<Bool>(WAITS))))
        .set((
            broadcasts::state.eq(sql::<Text>(&ended(State::Cancelled))),
            broadcasts::reason.eq(reason),
            broadcasts::ended_ms.eq(now_ms),
        ))
        .execute(c))?;
    Ok(())
}

/// What is due, the longest due first, of channels on which nothing is on its way; of each app only the first few.
pub(in crate::push::channel) fn due(conn: &mut Conn, (now_ms, per_app, limit): (i64, i64, i64)) -> Result<Vec<Broadcast>> {
    let first = format!(
        "id in (select id from (select id, row_number() over (partition by app_id order by due_ms, id) as n \
         from broadcasts where {WAITS} and due_ms <= {now_ms} and {ALONE}) as ranked where n <= {per_app})"
    );
    let rows: Vec<BroadcastRow> = on!(conn, c => broadcasts::table
        .filter(sql::<Bool>(&first))
        .order((broadcasts::due_ms, broadcasts::id))
        .limit(limit)
        .select(BroadcastRow::as_select())
        .load(c))?;
    rows.into_iter().map(BroadcastRow::broadcast).collect()
}

/// When the next one is due that is not due now.
pub(in crate::push::channel) fn next_due_ms(conn: &mut Conn, now_ms: i64) -> Result<Option<i64>> {
    Ok(on!(conn, c => broadcasts::table
        .filter(sql::<Bool>(WAITS).and(broadcasts::due_ms.gt(now_ms)))
        .order(broadcasts::due_ms)
        .select(broadcasts::due_ms)
        .first(c)
        .optional())?)
}

/// Moves a broadcast to `sending`, unless it is no longer to go; answers whether it was moved.
pub(in crate::push::channel) fn start(conn: &mut Conn, broadcast: &Broadcast, now_ms: i64) -> Result<bool> {
    let target = broadcasts::table.find((broadcast.app_id, broadcast.id));
    let rows = on!(conn, c => diesel::update(target
            .filter(broadcasts::attempt.eq(broadcast.attempt).and(broadcasts::deadline_ms.gt(now_ms)))
            .filter(sql::<Bool>(WAITS)))
        .set((
            broadcasts::state.eq("sending"),
            broadcasts::attempt.eq(broadcast.attempt + 1),
            broadcasts::sending_ms.eq(now_ms),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

/// Ends what waits and has passed its deadline.
pub(in crate::push::channel) fn expire(conn: &mut Conn, now_ms: i64) -> Result<usize> {
    Ok(on!(conn, c => diesel::update(broadcasts::table
            .filter(sql::<Bool>(WAITS).and(broadcasts::due_ms.le(now_ms)).and(broadcasts::deadline_ms.le(now_ms))))
        .set((
            broadcasts::state.eq(sql::<Text>(&ended(State::Expired))),
            broadcasts::reason.eq("deadline"),
            broadcasts::ended_ms.eq(now_ms),
        ))
        .execute(c))?)
}

/// Everything that is being sent, as the database knows it.
pub(in crate::push::channel) fn sending(conn: &mut Conn) -> Result<Vec<Broadcast>> {
    let rows: Vec<BroadcastRow> = on!(conn, c => broadcasts::table
        .filter(broadcasts::state.eq("sending"))
        .select(BroadcastRow::as_select())
        .load(c))?;
    rows.into_iter().map(BroadcastRow::broadcast).collect()
}

/// Writes the end of an attempt; what would wait again ends when it has been stopped meanwhile.
pub(in crate::push::channel) fn settle(
    conn: &mut Conn,
    broadcast: &Broadcast,
    (next, attempts): (&Next, Vec<Attempt>),
    now_ms: i64,
) -> Result<()> {
    let target = broadcasts::table
        .find((broadcast.app_id, broadcast.id))
        .filter(broadcasts::state.eq("sending").and(broadcasts::attempt.eq(broadcast.attempt)));
    let attempts = Doc(attempts);
    let Some(due_ms) = next.due_ms else {
        on!(conn, c => diesel::update(target)
            .set((
                broadcasts::state.eq(sql::<Text>(&ended(next.state))),
                broadcasts::reason.eq(next.reason.as_deref()),
                broadcasts::attempts.eq(&attempts),
                broadcasts::ended_ms.eq(now_ms),
            ))
            .execute(c))?;
        return Ok(());
    };
    on!(conn, c => diesel::update(target.filter(broadcasts::stop_reason.is_null()))
        .set((
            broadcasts::state.eq(next.state.word()),
            broadcasts::reason.eq(next.reason.as_deref()),
            broadcasts::attempts.eq(&attempts),
            broadcasts::due_ms.eq(due_ms),
            broadcasts::perhaps.eq(broadcasts::perhaps.or(next.perhaps.into_sql::<Bool>())),
        ))
        .execute(c))?;
    let stopped = if next.perhaps { State::Unknown } else { State::Cancelled };
    on!(conn, c => diesel::update(target.filter(broadcasts::stop_reason.is_not_null()))
        .set((
            broadcasts::state.eq(sql::<Text>(&ended(stopped))),
            broadcasts::reason.eq(broadcasts::stop_reason),
            broadcasts::attempts.eq(&attempts),
            broadcasts::ended_ms.eq(now_ms),
        ))
        .execute(c))?;
    Ok(())
}

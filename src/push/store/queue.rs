//! What waits: found, claimed, ended, allowed anew.

use super::{Claimed, WAITS, mode};
use crate::error::{Error, Result};
use crate::id::{AppId, DeviceId, MessageId, UserId};
use crate::on;
use crate::push::lanes::Serves;
use crate::push::message::{Allowed, Mode, Push, State};
use crate::push::route::Queue;
use crate::push::wish::What;
use crate::store::schema::messages;
use crate::store::{Conn, Doc, among};
use diesel::dsl::{not, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

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
        "select app_id, route, due_ms from (select app_id, route, due_ms from messages where {WAITS} and app_id = $1 \
         and route > $2 order by route, due_ms limit 1) as of_this_app union all \
         select app_id, route, due_ms from (select app_id, route, due_ms from messages where {WAITS} and app_id > $1 \
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
    Ok(on!(conn, c => messages::table.filter(sql::<Bool>(WAITS)).count().get_result(c))?)
}

type DueColumns = (
    (MessageId, UserId, DeviceId, String, Option<String>, String, String),
    (String, String, i64, i64, i64, String, i64, i64, Option<i64>, Option<String>, String, String),
);

/// A due message.
pub(in crate::push) struct Due {
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
    topic: Option<String>,
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

/// Messages that are due, the longest due first. On PostgreSQL they are locked, and those that another node has locked
/// are left to it.
pub(in crate::push) fn due(
    conn: &mut Conn,
    app: AppId,
    (queue, serves): (&Queue, &Serves),
    (now_ms, limit): (i64, usize),
) -> Result<Vec<Due>> {
    let query = messages::table
        .filter(messages::app_id.eq(app).and(messages::route.eq(queue.word())).and(messages::due_ms.le(now_ms)))
        .filter(sql::<Bool>(WAITS))
        .order((messages::due_ms, messages::id))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select((
            (
                messages::id,
                messages::user_id,
                messages::device_id,
                messages::token,
                messages::topic,
                messages::payload,
                messages::collapse_id,
            ),
            (
                messages::mode,
                messages::consent,
                messages::consent_epoch,
                messages::app_consent_epoch,
                messages::attempt,
                messages::attempts,
                messages::deadline_ms,
                messages::created_ms,
                messages::consent_until_ms,
                messages::head,
                messages::recalls,
                messages::activity_id,
            ),
        ));
    macro_rules! load {
        ($query:expr) => {
            match conn {
                Conn::Sqlite(c) => $query.load(c)?,
                Conn::Postgres(c) => $query.for_update().skip_locked().load(c)?,
            }
        };
    }
    let among = |topics: &[String]| among(messages::topic.assume_not_null(), topics);
    let rows: Vec<DueColumns> = match serves {
        Serves::All => load!(query),
        Serves::Only(topics) => load!(query.filter(messages::topic.is_not_null().and(among(topics)))),
        Serves::But(topics) => load!(query.filter(messages::topic.is_null().or(not(among(topics))))),
    };
    rows.into_iter().map(read).collect()
}

fn read(columns: DueColumns) -> Result<Due> {
    let ((id, user_id, device_id, token, topic, payload, collapse_id), rest) = columns;
    let (
        word,
        consent,
        consent_epoch,
        app_consent_epoch,
        attempt,
        attempts,
        deadline_ms,
        created_ms,
        until_ms,
        head,
        recalls,
        activity_id,
    ) = rest;
    let epochs = (consent_epoch, app_consent_epoch);
    let mode = mode(&word)?;
    Ok(Due {
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

/// Moves due messages to `sending`, unless their deadline or the end of their consent has passed; answers how many were
/// moved.
pub(in crate::push) fn start(conn: &mut Conn, app: AppId, ids: &[MessageId], now_ms: i64) -> Result<usize> {
    Ok(on!(conn, c => diesel::update(messages::table
            .filter(messages::app_id.eq(app).and(among(messages::id, ids)))
            .filter(sql::<Bool>(WAITS).and(messages::deadline_ms.gt(now_ms)))
            .filter(messages::consent_until_ms.is_null().or(messages::consent_until_ms.gt(now_ms))))
        .set((
            messages::state.eq(State::Sending.word()),
            messages::attempt.eq(messages::attempt + 1),
            messages::sending_ms.eq(now_ms),
        ))
        .execute(c))?)
}

/// Ends waiting messages.
pub(in crate::push) fn end(
    conn: &mut Conn,
    app: AppId,
    (ids, state, reason): (&[MessageId], State, &str),
    now_ms: i64,
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    on!(conn, c => diesel::update(messages::table.filter(messages::app_id.eq(app).and(among(messages::id, ids))))
        .set((messages::state.eq(state.word()), messages::reason.eq(reason), messages::ended_ms.eq(now_ms)))
        .execute(c))?;
    Ok(())
}

/// Lets waiting messages wait on.
pub(in crate::push) fn postpone(conn: &mut Conn, app: AppId, (ids, due_ms): (&[MessageId], i64)) -> Result<()> {
    on!(conn, c => diesel::update(messages::table.filter(messages::app_id.eq(app).and(among(messages::id, ids))))
        .set((messages::due_ms.eq(due_ms), messages::reason.eq("quiet_hours")))
        .execute(c))?;
    Ok(())
}

/// Ends what waits and has passed its deadline, at most a chunk; answers how many there were.
pub(in crate::push) fn expire(conn: &mut Conn, (app, queue): (AppId, &Queue), now_ms: i64) -> Result<usize> {
    let late: Vec<MessageId> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::route.eq(queue.word())).and(messages::due_ms.le(now_ms)))
        .filter(sql::<Bool>(WAITS).and(messages::deadline_ms.le(now_ms)))
        .limit(500)
        .select(messages::id)
        .load(c))?;
    end(conn, app, (&late, State::Expired, "deadline"), now_ms)?;
    Ok(late.len())
}

/// Writes the consent under which a waiting message may still go.
pub(in crate::push) fn allow(
    conn: &mut Conn,
    app: AppId,
    id: MessageId,
    (allowed, epochs): (&Allowed, (i64, i64)),
) -> Result<()> {
    let consent = Doc(allowed.clone());
    on!(conn, c => diesel::update(messages::table.filter(messages::app_id.eq(app).and(messages::id.eq(id))))
        .set((
            messages::consent.eq(&consent),
            messages::consent_epoch.eq(epochs.0),
            messages::app_consent_epoch.eq(epochs.1),
            messages::consent_until_ms.eq(allowed.until_ms),
        ))
        .execute(c))?;
    Ok(())
}

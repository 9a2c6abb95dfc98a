//! The tables of the outbox: messages and gateway credentials.

use super::credentials::{NewCredential, Public, Sealed};
use super::ending::{Next, Tried};
use super::message::{Allowed, Attempt, Gateway, Mode, NewMessage, Push, State};
use super::route::Route;
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, MessageId, OfferId, UserId};
use crate::on;
use crate::store::schema::{messages, push_credentials};
use crate::store::{Conn, Doc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

/// Ids in one statement.
const CHUNK: usize = 500;
/// The condition of the index on what waits, word for word: with bound words the databases would not use it.
const WAITS: &str = "state in ('queued', 'retry_at')";

/// A message as it is inserted.
#[derive(Insertable)]
#[diesel(table_name = messages)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct Row {
    app_id: AppId,
    id: MessageId,
    decision_id: DecisionId,
    choice_id: ChoiceId,
    user_id: UserId,
    device_id: DeviceId,
    campaign_id: CampaignId,
    offer_id: OfferId,
    platform: &'static str,
    token: String,
    environment: &'static str,
    topic: Option<String>,
    test: bool,
    route: &'static str,
    payload: String,
    collapse_id: String,
    mode: &'static str,
    consent: String,
    consent_epoch: i64,
    app_consent_epoch: i64,
    state: &'static str,
    reason: Option<String>,
    attempt: i64,
    attempts: &'static str,
    due_ms: i64,
    deadline_ms: i64,
    created_ms: i64,
    sending_ms: Option<i64>,
    ended_ms: Option<i64>,
    settled: bool,
}

impl Row {
    /// The row of a message that is claimed at once (`sending`), or waits.
    pub(super) fn new(message: &NewMessage, route: Route, (sending, now_ms): (bool, i64)) -> Result<Self> {
        Ok(Self {
            app_id: message.app_id,
            id: message.id,
            decision_id: message.decision_id,
            choice_id: message.choice_id,
            user_id: message.user_id,
            device_id: message.device_id,
            campaign_id: message.campaign_id,
            offer_id: message.offer_id,
            platform: message.gateway.platform().name(),
            token: message.token.clone(),
            environment: message.environment.name(),
            topic: message.topic.clone(),
            test: message.test,
            route: route.word(),
            payload: message.payload(),
            collapse_id: message.collapse_id.clone(),
            mode: message.mode.word(),
            consent: serde_json::to_string(&message.allowed).map_err(Error::broken)?,
            consent_epoch: message.consent_epoch,
            app_consent_epoch: message.app_consent_epoch,
            state: if sending { State::Sending.word() } else { State::Queued.word() },
            reason: None,
            attempt: i64::from(sending),
            attempts: "[]",
            due_ms: message.due_ms,
            deadline_ms: message.deadline_ms,
            created_ms: now_ms,
            sending_ms: sending.then_some(now_ms),
            ended_ms: None,
            settled: false,
        })
    }
}

/// A message that is being sent.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub(super) app_id: AppId,
    pub(super) device_id: DeviceId,
    pub(super) push: Push,
    pub(super) mode: Mode,
    pub(super) attempt: i64,
    pub(super) started_ms: i64,
    attempts: String,
}

impl Claimed {
    pub(super) fn of_row(row: &Row, message: &NewMessage) -> Self {
        Self {
            app_id: row.app_id,
            device_id: row.device_id,
            push: Push {
                id: row.id,
                token: row.token.clone(),
                topic: row.topic.clone(),
                collapse_id: row.collapse_id.clone(),
                deadline_ms: row.deadline_ms,
                payload: row.payload.clone().into(),
            },
            mode: message.mode,
            attempt: 1,
            started_ms: row.created_ms,
            attempts: "[]".to_owned(),
        }
    }

    pub(super) fn tried(&self, now_ms: i64) -> Tried {
        Tried { attempt: self.attempt, deadline_ms: self.push.deadline_ms, mode: self.mode, now_ms }
    }

    /// What is written at the end of this attempt; an attempt that never left is not listed.
    pub(super) fn settlement(&self, next: &Next, attempt: Option<&Attempt>, now_ms: i64) -> Result<Settlement> {
        let attempts = attempt.map_or_else(|| Ok(self.attempts.clone()), |a| with(&self.attempts, a))?;
        Ok(Settlement::new((self.app_id, self.push.id), (self.attempt, attempts), next, now_ms))
    }
}

/// The list of attempts with one more, without parsing what is there.
fn with(attempts: &str, attempt: &Attempt) -> Result<String> {
    let text = serde_json::to_string(attempt).map_err(Error::broken)?;
    Ok(match attempts.strip_suffix(']') {
        None | Some("[") => format!("[{text}]"),
        Some(before) => format!("{before},{text}]"),
    })
}

/// What is written at the end of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Settlement {
    app_id: AppId,
    id: MessageId,
    attempt: i64,
    attempts: String,
    state: State,
    reason: Option<String>,
    due_ms: Option<i64>,
    now_ms: i64,
}

impl Settlement {
    fn new((app_id, id): (AppId, MessageId), (attempt, attempts): (i64, String), next: &Next, now_ms: i64) -> Self {
        let reason = next.reason.as_ref().map(|r| r.clone().into_owned());
        Self { app_id, id, attempt, attempts, state: next.state, reason, due_ms: next.due_ms, now_ms }
    }
}

pub(super) fn insert(conn: &mut Conn, rows: &[Row]) -> Result<()> {
    match conn {
        // Cached single-row statements are the fastest form on SQLite, one statement for many rows on PostgreSQL.
        Conn::Sqlite(c) => {
            for row in rows {
                diesel::insert_into(messages::table).values(row).execute(c)?;
            }
        }
        Conn::Postgres(c) => {
            for chunk in rows.chunks(CHUNK) {
                diesel::insert_into(messages::table).values(chunk).execute(c)?;
            }
        }
    }
    Ok(())
}

/// Where something waits, and since or until when the first of it is due.
#[derive(Debug, QueryableByName)]
pub(super) struct Waiting {
    #[diesel(sql_type = Text)]
    pub(super) app_id: AppId,
    #[diesel(sql_type = Text)]
    pub(super) route: String,
    #[diesel(sql_type = BigInt)]
    pub(super) due_ms: i64,
}

/// The first waiting message of each app and route: one step along the index each, however long the queues are.
pub(super) fn waiting(conn: &mut Conn) -> Result<Vec<Waiting>> {
    let mut all: Vec<Waiting> = Vec::new();
    loop {
        let (app, route) = all.last().map_or((String::new(), String::new()), |w| (w.app_id.to_string(), w.route.clone()));
        let query = format!(
            "select app_id, route, due_ms from messages where {WAITS} and (app_id, route) > ($1, $2) \
             order by app_id, route, due_ms limit 1"
        );
        let next: Option<Waiting> = on!(conn, c => diesel::sql_query(query)
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
pub(super) fn depth(conn: &mut Conn) -> Result<i64> {
    Ok(on!(conn, c => messages::table.filter(sql::<Bool>(WAITS)).count().get_result(c))?)
}

type DueColumns =
    ((MessageId, UserId, DeviceId, String, Option<String>, String, String), (String, String, i64, i64, i64, String, i64));

/// A due message.
pub(super) struct Due {
    pub(super) id: MessageId,
    pub(super) user_id: UserId,
    pub(super) device_id: DeviceId,
    pub(super) token: String,
    pub(super) deadline_ms: i64,
    pub(super) epochs: (i64, i64),
    topic: Option<String>,
    payload: String,
    collapse_id: String,
    mode: Mode,
    consent: String,
    attempt: i64,
    attempts: String,
}

impl Due {
    pub(super) fn allowed(&self) -> Result<Allowed> {
        serde_json::from_str(&self.consent).map_err(Error::broken)
    }

    pub(super) fn claimed(self, (app_id, now_ms): (AppId, i64)) -> Claimed {
        Claimed {
            app_id,
            device_id: self.device_id,
            push: Push {
                id: self.id,
                token: self.token,
                topic: self.topic,
                collapse_id: self.collapse_id,
                deadline_ms: self.deadline_ms,
                payload: self.payload.into(),
            },
            mode: self.mode,
            attempt: self.attempt + 1,
            started_ms: now_ms,
            attempts: self.attempts,
        }
    }
}

fn mode(word: &str) -> Result<Mode> {
    Mode::parse(word).ok_or_else(|| Error::broken("the outbox holds an unknown mode"))
}

/// Messages that are due, the longest due first. On PostgreSQL they are locked, and those that another node has locked
/// are left to it.
pub(super) fn due(conn: &mut Conn, app: AppId, route: Route, (now_ms, limit): (i64, usize)) -> Result<Vec<Due>> {
    let query = messages::table
        .filter(messages::app_id.eq(app).and(messages::route.eq(route.word())).and(messages::due_ms.le(now_ms)))
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
            ),
        ));
    let rows: Vec<DueColumns> = match conn {
        Conn::Sqlite(c) => query.load(c)?,
        Conn::Postgres(c) => query.for_update().skip_locked().load(c)?,
    };
    let read = |((id, user_id, device_id, token, topic, payload, collapse_id), rest): DueColumns| {
        let (word, consent, consent_epoch, app_consent_epoch, attempt, attempts, deadline_ms) = rest;
        let epochs = (consent_epoch, app_consent_epoch);
        let mode = mode(&word)?;
        Ok(Due {
            id,
            user_id,
            device_id,
            token,
            deadline_ms,
            epochs,
            topic,
            payload,
            collapse_id,
            mode,
            consent,
            attempt,
            attempts,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Moves due messages to `sending`, unless their deadline has passed; answers how many were moved.
pub(super) fn start(conn: &mut Conn, app: AppId, ids: &[MessageId], now_ms: i64) -> Result<usize> {
    let mut moved = 0;
    for chunk in ids.chunks(CHUNK) {
        moved += on!(conn, c => diesel::update(messages::table
                .filter(messages::app_id.eq(app).and(messages::id.eq_any(chunk)))
                .filter(sql::<Bool>(WAITS).and(messages::deadline_ms.gt(now_ms))))
            .set((
                messages::state.eq(State::Sending.word()),
                messages::attempt.eq(messages::attempt + 1),
                messages::sending_ms.eq(now_ms),
            ))
            .execute(c))?;
    }
    Ok(moved)
}

/// Ends waiting messages.
pub(super) fn end(conn: &mut Conn, app: AppId, (ids, state, reason): (&[MessageId], State, &str), now_ms: i64) -> Result<()> {
    for chunk in ids.chunks(CHUNK) {
        on!(conn, c => diesel::update(messages::table.filter(messages::app_id.eq(app).and(messages::id.eq_any(chunk))))
            .set((messages::state.eq(state.word()), messages::reason.eq(reason), messages::ended_ms.eq(now_ms)))
            .execute(c))?;
    }
    Ok(())
}

/// Ends what waits and has passed its deadline, at most a chunk; answers how many there were.
pub(super) fn expire(conn: &mut Conn, (app, route): (AppId, Route), now_ms: i64) -> Result<usize> {
    let late: Vec<MessageId> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::route.eq(route.word())).and(messages::due_ms.le(now_ms)))
        .filter(sql::<Bool>(WAITS).and(messages::deadline_ms.le(now_ms)))
        .limit(500)
        .select(messages::id)
        .load(c))?;
    end(conn, app, (&late, State::Expired, "deadline"), now_ms)?;
    Ok(late.len())
}

/// Writes the consent under which a waiting message may still go.
pub(super) fn allow(conn: &mut Conn, app: AppId, id: MessageId, (allowed, epochs): (&Allowed, (i64, i64))) -> Result<()> {
    let consent = Doc(allowed.clone());
    on!(conn, c => diesel::update(messages::table.filter(messages::app_id.eq(app).and(messages::id.eq(id))))
        .set((
            messages::consent.eq(&consent),
            messages::consent_epoch.eq(epochs.0),
            messages::app_consent_epoch.eq(epochs.1),
        ))
        .execute(c))?;
    Ok(())
}

/// Writes the end of an attempt; false when the message is no longer in this attempt.
pub(super) fn settle_one(conn: &mut Conn, s: &Settlement) -> Result<bool> {
    let attempt = messages::app_id.eq(s.app_id).and(messages::id.eq(s.id)).and(messages::attempt.eq(s.attempt));
    let target = messages::table.filter(attempt.and(messages::state.eq(State::Sending.word())));
    let common =
        (messages::state.eq(s.state.word()), messages::reason.eq(s.reason.as_deref()), messages::attempts.eq(&s.attempts));
    let rows = match s.due_ms {
        Some(due_ms) => on!(conn, c => diesel::update(target).set((common, messages::due_ms.eq(due_ms))).execute(c))?,
        // What counts keeps its reservation: feedback has nothing to do for it.
        None => on!(conn, c => diesel::update(target)
            .set((common, messages::ended_ms.eq(s.now_ms), messages::settled.eq(s.state.counts())))
            .execute(c))?,
    };
    Ok(rows == 1)
}

/// A message that a crash left in `sending`.
pub(super) struct Stranded {
    app_id: AppId,
    id: MessageId,
    mode: String,
    attempts: String,
    pub(super) attempt: i64,
    pub(super) deadline_ms: i64,
    pub(super) sending_ms: Option<i64>,
}

impl Stranded {
    pub(super) fn mode(&self) -> Result<Mode> {
        mode(&self.mode)
    }

    pub(super) fn settlement(&self, next: &Next, attempt: &Attempt, now_ms: i64) -> Result<Settlement> {
        let attempts = with(&self.attempts, attempt)?;
        Ok(Settlement::new((self.app_id, self.id), (self.attempt, attempts), next, now_ms))
    }
}

pub(super) fn stranded(conn: &mut Conn) -> Result<Vec<Stranded>> {
    type Columns = (AppId, MessageId, String, String, i64, i64, Option<i64>);
    let rows: Vec<Columns> = on!(conn, c => messages::table
        .filter(sql::<Bool>("state = 'sending'"))
        .select((messages::app_id, messages::id, messages::mode, messages::attempts, messages::attempt,
            messages::deadline_ms, messages::sending_ms))
        .load(c))?;
    let read = |(app_id, id, mode, attempts, attempt, deadline_ms, sending_ms): Columns| Stranded {
        app_id,
        id,
        mode,
        attempts,
        attempt,
        deadline_ms,
        sending_ms,
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(super) fn cancel_campaign(conn: &mut Conn, app: AppId, campaign: CampaignId, now_ms: i64) -> Result<usize> {
    Ok(on!(conn, c => diesel::update(messages::table
            .filter(messages::app_id.eq(app).and(messages::campaign_id.eq(campaign)).and(sql::<Bool>(WAITS))))
        .set((
            messages::state.eq(State::Cancelled.word()),
            messages::reason.eq("campaign_stopped"),
            messages::ended_ms.eq(now_ms),
        ))
        .execute(c))?)
}

pub(super) fn cancel(conn: &mut Conn, app: AppId, message: MessageId, now_ms: i64) -> Result<bool> {
    let rows = on!(conn, c => diesel::update(messages::table
            .filter(messages::app_id.eq(app).and(messages::id.eq(message)).and(sql::<Bool>(WAITS))))
        .set((messages::state.eq(State::Cancelled.word()), messages::reason.eq("cancelled"), messages::ended_ms.eq(now_ms)))
        .execute(c))?;
    Ok(rows > 0)
}

pub(super) fn put_credential(conn: &mut Conn, app: AppId, new: &NewCredential, (sealed, now_ms): (Vec<u8>, i64)) -> Result<()> {
    let public = Doc(new.public.clone());
    on!(conn, c => diesel::insert_into(push_credentials::table)
        .values((
            push_credentials::app_id.eq(app),
            push_credentials::gateway.eq(new.gateway.word()),
            push_credentials::environment.eq(new.public.environment.name()),
            push_credentials::public.eq(&public),
            push_credentials::sealed.eq(&sealed),
            push_credentials::revision.eq(1_i64),
            push_credentials::updated_ms.eq(now_ms),
        ))
        .on_conflict((push_credentials::app_id, push_credentials::gateway, push_credentials::environment))
        .do_update()
        .set((
            push_credentials::public.eq(&public),
            push_credentials::sealed.eq(&sealed),
            push_credentials::revision.eq(push_credentials::revision + 1),
            push_credentials::updated_ms.eq(now_ms),
        ))
        .execute(c))?;
    Ok(())
}

pub(super) fn credentials(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<Vec<(Public, i64)>> {
    let rows: Vec<(Doc<Public>, i64)> = on!(conn, c => push_credentials::table
        .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(gateway.word())))
        .order(push_credentials::environment)
        .select((push_credentials::public, push_credentials::updated_ms))
        .load(c))?;
    Ok(rows.into_iter().map(|(public, updated_ms)| (public.0, updated_ms)).collect())
}

pub(super) fn sealed(conn: &mut Conn, app: AppId, route: Route) -> Result<Option<Sealed>> {
    let row: Option<(Doc<Public>, Vec<u8>)> = on!(conn, c => push_credentials::table
        .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(route.gateway.word())))
        .filter(push_credentials::environment.eq(route.environment.name()))
        .select((push_credentials::public, push_credentials::sealed))
        .get_result(c)
        .optional())?;
    Ok(row.map(|(public, sealed)| Sealed { public: public.0, sealed }))
}

pub(super) fn delete_credentials(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<bool> {
    let rows = on!(conn, c => diesel::delete(push_credentials::table
            .filter(push_credentials::app_id.eq(app).and(push_credentials::gateway.eq(gateway.word()))))
        .execute(c))?;
    Ok(rows > 0)
}

//! The tables of the outbox: messages and gateway credentials.

mod credentials;
mod ends;
mod queue;
mod recalls;

pub(super) use credentials::{all as all_credentials, credentials, delete_credential, keep_topics, note, put_credential, sealed};
pub(super) use ends::{
    Settled, Stranded, cancel, cancel_campaign, cancel_decisions, end_alike, is_proven, readdress, reroute, sending, settle_one,
    stop_activity,
};
pub(super) use queue::{Due, Waiting, allow, depth, due, end, expire, postpone, start, waiting};
pub(super) use recalls::{Original, ask_later, insert_recalls, note_recalled, originals, states, unended};

use super::ending::{Next, Tried};
use super::message::{Attempt, Gateway, Mode, NewMessage, Push, State};
use super::route::Queue;
use super::verdict::Reason;
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, MessageId, OfferId, UserId};
use crate::store::Conn;
use crate::store::schema::messages;
use diesel::prelude::*;
use std::borrow::Cow;

/// Ids in one statement.
const CHUNK: usize = 500;
/// The condition of the index on what waits, word for word: with bound words the databases would not use it.
const WAITS: &str = "state in ('queued', 'retry_at')";
/// As [`WAITS`], of what is being sent.
const FLIES: &str = "state = 'sending'";

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
    platform: Cow<'static, str>,
    token: String,
    environment: Cow<'static, str>,
    topic: Option<String>,
    test: bool,
    route: Cow<'static, str>,
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
    consent_until_ms: Option<i64>,
    activity_id: String,
    head: Option<String>,
    recalls: String,
    inbox_until_ms: Option<i64>,
}

impl Row {
    /// The row of a message that is claimed at once (`sending`), or waits.
    pub(super) fn new(message: &NewMessage, queue: &Queue, (sending, now_ms): (bool, i64)) -> Result<Self> {
        Ok(Self {
            app_id: message.app_id,
            id: message.id,
            decision_id: message.decision_id,
            choice_id: message.choice_id,
            user_id: message.user_id,
            device_id: message.device_id,
            campaign_id: message.campaign_id,
            offer_id: message.offer_id,
            platform: message.gateway.platform().name().into(),
            token: message.token.clone(),
            // Where it goes, which for a test is not always where the device is at home.
            environment: queue.route.environment.name().into(),
            topic: message.topic.clone(),
            test: message.test,
            route: queue.word(),
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
            consent_until_ms: message.allowed.until_ms,
            activity_id: message.activity.as_ref().map(|shown| shown.activity_id.to_string()).unwrap_or_default(),
            head: message.head(),
            recalls: String::new(),
            inbox_until_ms: message.content.inbox_until_ms,
        })
    }
}

/// A message that is being sent.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub(super) app_id: AppId,
    pub(super) user_id: UserId,
    pub(super) device_id: DeviceId,
    pub(super) gateway: Gateway,
    /// Whether its token is one of a Live Activity, not the device's.
    pub(super) activity: bool,
    pub(super) push: Push,
    pub(super) mode: Mode,
    /// Whether it is one of many.
    pub(super) bulk: bool,
    pub(super) attempt: i64,
    pub(super) started_ms: i64,
    attempts: String,
}

impl Claimed {
    pub(super) fn of_row(row: &Row, message: &NewMessage) -> Self {
        Self {
            app_id: row.app_id,
            user_id: row.user_id,
            device_id: row.device_id,
            gateway: message.gateway,
            activity: !row.activity_id.is_empty(),
            push: Push {
                id: row.id,
                token: row.token.clone(),
                topic: row.topic.clone(),
                collapse_id: row.collapse_id.clone(),
                deadline_ms: row.deadline_ms,
                consent_until_ms: row.consent_until_ms,
                head: row.head.clone(),
                payload: row.payload.clone().into(),
            },
            mode: message.mode,
            bulk: message.bulk,
            attempt: 1,
            started_ms: row.created_ms,
            attempts: "[]".to_owned(),
        }
    }

    /// Whether Apple's other host did not know its token: then this is the second host.
    pub(super) fn was_unknown_elsewhere(&self) -> bool {
        self.attempts.len() > 2 && self.attempts.contains("\"bad_device_token\"")
    }

    pub(super) fn tried(&self, now_ms: i64) -> Tried {
        Tried { attempt: self.attempt, deadline_ms: self.push.deadline_ms, mode: self.mode, now_ms }
    }

    /// What is written at the end of this attempt; an attempt that never left is not listed.
    pub(super) fn settlement(&self, next: &Next, listed: Option<Attempt>, now_ms: i64) -> Settlement {
        let attempts = Attempts { before: self.attempts.clone(), last: listed };
        Settlement::new((self.app_id, self.push.id), (self.attempt, attempts), next, now_ms)
    }
}

/// The attempts of a message: those before as they are stored, and the last one, if it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempts {
    before: String,
    last: Option<Attempt>,
}

impl Attempts {
    /// As they are stored now, without parsing what was there.
    fn text(&self) -> Result<String> {
        let Some(last) = &self.last else { return Ok(self.before.clone()) };
        let text = serde_json::to_string(last).map_err(Error::broken)?;
        Ok(match self.before.strip_suffix(']') {
            None | Some("[") => format!("[{text}]"),
            Some(before) => format!("{before},{text}]"),
        })
    }
}

/// What is written at the end of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Settlement {
    id: MessageId,
    fate: Fate,
}

/// What is written of a message; those of one batch mostly read the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Fate {
    app_id: AppId,
    attempt: i64,
    attempts: Attempts,
    state: State,
    reason: Option<Reason>,
    due_ms: Option<i64>,
    now_ms: i64,
}

impl Settlement {
    fn new((app_id, id): (AppId, MessageId), (attempt, attempts): (i64, Attempts), next: &Next, now_ms: i64) -> Self {
        let Next { state, reason, due_ms, .. } = next.clone();
        Self { id, fate: Fate { app_id, attempt, attempts, state, reason, due_ms, now_ms } }
    }

    /// The message.
    pub(super) fn id(&self) -> MessageId {
        self.id
    }

    /// Whether the message waits again.
    pub(super) fn waits(&self) -> bool {
        self.fate.due_ms.is_some()
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

fn mode(word: &str) -> Result<Mode> {
    Mode::parse(word).ok_or_else(|| Error::broken("the outbox holds an unknown mode"))
}

//! The tables of the outbox: messages and gateway credentials.
//!
//! A message is two rows of one number: `message_bodies`, wide and written once, and `message_states`, narrow and
//! written at each step of its life. What waits is found, claimed and ended by its number; whoever only reads asks the
//! view `messages`. What both rows decide together is decided under the lock of the state.

mod credentials;
mod ends;
mod queue;
mod recalls;

pub(super) use credentials::{all as all_credentials, credentials, delete_credential, keep_topics, note, put_credential, sealed};
pub(super) use ends::{
    Settled, Stranded, cancel, cancel_campaign, cancel_decisions, end_alike, is_proven, readdress, reroute, sending, settle_one,
    stop_activity,
};
pub(super) use queue::{Due, Waiting, allow, depth, due, end, expire, late, lock, move_to, of_topics, postpone, start, waiting};
pub(super) use recalls::{Original, ask_later, insert_recalls, note_recalled, originals, replaced, states, unended};

use super::ending::{Next, Tried};
use super::message::{Attempt, Gateway, Mode, NewMessage, Push, State};
use super::route::Queue;
use super::verdict::Reason;
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, MessageId, OfferId, UserId};
use crate::store::Conn;
use crate::store::schema::{message_bodies, message_states};
use diesel::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;

/// [`WAITS`] and [`FLIES`] of rows that are found by their numbers: in other words, or PostgreSQL would intersect those few
/// with all that waits or flies.
const STILL_WAITS: &str = "state || '' in ('queued', 'retry_at')";
const STILL_FLIES: &str = "state || '' = 'sending'";

/// Ids in one statement.
pub(super) const CHUNK: usize = 500;
/// The condition of the index on what waits, word for word: with bound words the databases would not use it.
const WAITS: &str = "state in ('queued', 'retry_at')";
/// As [`WAITS`], of what is being sent.
const FLIES: &str = "state = 'sending'";

/// The state in which a message ends, as SQL: whatever is said of its wait or of its last attempt, an earlier attempt may have
/// arrived, and then nobody knows. Only that the gateway has taken it says more.
pub(super) fn ended(state: State) -> String {
    let word = state.word();
    if state.counts() {
        return format!("'{word}'");
    }
    format!("case when perhaps then '{}' else '{word}' end", State::Unknown.word())
}

/// A message as it is inserted.
pub(super) struct Row {
    body: Body,
    state: Standing,
}

/// What it says, to whom, and why.
#[derive(Insertable)]
#[diesel(table_name = message_bodies)]
#[diesel(treat_none_as_default_value = false)]
struct Body {
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
    test: bool,
    payload: String,
    head: Option<String>,
    collapse_id: String,
    mode: &'static str,
    consent: String,
    consent_epoch: i64,
    app_consent_epoch: i64,
    created_ms: i64,
    activity_id: String,
    recalls: String,
    inbox_until_ms: Option<i64>,
}

/// Where it stands.
#[derive(Insertable)]
#[diesel(table_name = message_states)]
#[diesel(treat_none_as_default_value = false)]
struct Standing {
    /// 0 until the body is inserted.
    n: i64,
    app_id: AppId,
    route: Cow<'static, str>,
    topic: Option<String>,
    state: &'static str,
    attempt: i64,
    attempts: &'static str,
    due_ms: i64,
    deadline_ms: i64,
    consent_until_ms: Option<i64>,
    sending_ms: Option<i64>,
    settled: bool,
}

impl Row {
    /// The row of a message that is claimed at once (`sending`), or waits.
    pub(super) fn new(message: &NewMessage, queue: &Queue, (sending, now_ms): (bool, i64)) -> Result<Self> {
        let body = Body {
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
            test: message.test,
            payload: message.payload(),
            head: message.head(),
            collapse_id: message.collapse_id.clone(),
            mode: message.mode.word(),
            consent: serde_json::to_string(&message.allowed).map_err(Error::broken)?,
            consent_epoch: message.consent_epoch,
            app_consent_epoch: message.app_consent_epoch,
            created_ms: now_ms,
            activity_id: message.activity.as_ref().map(|shown| shown.activity_id.to_string()).unwrap_or_default(),
            recalls: String::new(),
            inbox_until_ms: message.content.inbox_until_ms,
        };
        let state = Standing {
            n: 0,
            app_id: message.app_id,
            route: queue.word(),
            topic: message.topic.clone(),
            state: if sending { State::Sending.word() } else { State::Queued.word() },
            attempt: i64::from(sending),
            attempts: "[]",
            due_ms: message.due_ms,
            deadline_ms: message.deadline_ms,
            consent_until_ms: message.allowed.until_ms,
            sending_ms: sending.then_some(now_ms),
            settled: false,
        };
        Ok(Self { body, state })
    }

    /// The message as it is sent, if it was claimed at once.
    pub(super) fn claimed(&self, n: i64, message: &NewMessage) -> Claimed {
        let Self { body, state } = self;
        Claimed {
            n,
            app_id: body.app_id,
            user_id: body.user_id,
            device_id: body.device_id,
            gateway: message.gateway,
            activity: !body.activity_id.is_empty(),
            push: Push {
                id: body.id,
                token: body.token.clone(),
                topic: state.topic.clone(),
                collapse_id: body.collapse_id.clone(),
                deadline_ms: state.deadline_ms,
                consent_until_ms: state.consent_until_ms,
                head: body.head.clone(),
                payload: body.payload.clone().into(),
            },
            mode: message.mode,
            bulk: message.bulk,
            attempt: 1,
            started_ms: body.created_ms,
            attempts: "[]".to_owned(),
        }
    }
}

/// A message that is being sent.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    n: i64,
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
        Settlement::new((self.app_id, self.n), (self.attempt, attempts), next, now_ms)
    }
}

/// The attempts of a message: those before as they are stored, and the last one, if it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempts {
    before: String,
    last: Option<Attempt>,
}

/// From so many bytes on a further attempt is listed in the place of the one before.
const ATTEMPTS_BYTES_MAX: usize = 16_384;

impl Attempts {
    /// As they are stored now, without parsing what was there.
    fn text(&self) -> Result<String> {
        let Some(last) = &self.last else { return Ok(self.before.clone()) };
        let text = serde_json::to_string(last).map_err(Error::broken)?;
        Ok(match self.before.strip_suffix(']') {
            None | Some("[") => format!("[{text}]"),
            // The first ones and the last: what is tried for weeks is no reason to grow without end.
            Some(before) if before.len() > ATTEMPTS_BYTES_MAX => {
                let first = before.rfind(",{").and_then(|at| before.get(..at)).unwrap_or("[");
                format!("{first},{text}]")
            }
            Some(before) => format!("{before},{text}]"),
        })
    }
}

/// What is written at the end of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Settlement {
    /// The message's number.
    n: i64,
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
    /// Whether it may have arrived although it waits again.
    perhaps: bool,
    now_ms: i64,
}

impl Settlement {
    fn new((app_id, n): (AppId, i64), (attempt, attempts): (i64, Attempts), next: &Next, now_ms: i64) -> Self {
        let Next { state, reason, due_ms, perhaps, .. } = next.clone();
        Self { n, fate: Fate { app_id, attempt, attempts, state, reason, due_ms, perhaps, now_ms } }
    }

    /// Whether the message waits again.
    pub(super) fn waits(&self) -> bool {
        self.fate.due_ms.is_some()
    }
}

/// Writes messages; answers their numbers.
pub(super) fn insert(conn: &mut Conn, rows: &mut [Row]) -> Result<Vec<i64>> {
    match conn {
        // Cached single-row statements are the fastest form on SQLite, one statement for many rows on PostgreSQL.
        Conn::Sqlite(c) => {
            for Row { body, state } in &mut *rows {
                state.n = diesel::insert_into(message_bodies::table).values(&*body).returning(message_bodies::n).get_result(c)?;
                diesel::insert_into(message_states::table).values(&*state).execute(c)?;
            }
        }
        Conn::Postgres(c) => {
            for chunk in rows.chunks_mut(CHUNK) {
                let bodies: Vec<&Body> = chunk.iter().map(|row| &row.body).collect();
                let numbers = diesel::insert_into(message_bodies::table)
                    .values(bodies)
                    .returning((message_bodies::id, message_bodies::n))
                    .get_results(c)?;
                diesel::insert_into(message_states::table).values(numbered(chunk, numbers)).execute(c)?;
            }
        }
    }
    Ok(rows.iter().map(|row| row.state.n).collect())
}

/// The states of the rows whose bodies have got a number.
fn numbered(rows: &mut [Row], numbers: Vec<(MessageId, i64)>) -> Vec<&Standing> {
    let numbers: HashMap<MessageId, i64> = numbers.into_iter().collect();
    let mut states = Vec::with_capacity(numbers.len());
    for Row { body, state } in rows {
        if let Some(n) = numbers.get(&body.id) {
            state.n = *n;
            states.push(&*state);
        }
    }
    states
}

fn mode(word: &str) -> Result<Mode> {
    Mode::parse(word).ok_or_else(|| Error::broken("the outbox holds an unknown mode"))
}

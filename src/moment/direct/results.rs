//! What came of a push for each device: pages, and a stream of all of them with bounded memory.

use super::store::{self, Decided, Sent};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, DecisionId, DeviceId, MessageId, PushId, UserId};
use crate::moment::decision::Outcome;
use crate::platform::Platform;
use crate::push;
use crate::store::Conn;
use actix_web::web::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Rows of one read of a stream.
const ROWS: i64 = 500;

/// What came of a push for one device, or for a user who gets it on none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PushResult)]
pub struct ResultOut {
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<DeviceId>,
    decision_id: DecisionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// A message's state, or `held`, or `suppressed` for a user whom a gate refused.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempts: Vec<TryOut>,
    decided_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

/// One hand-over, or the try of one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PushAttempt)]
pub struct TryOut {
    n: i64,
    started_at: Time,
    ended_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ResultOut {
    /// What tells it apart, in the order of results: by user, then by device.
    pub fn key(&self) -> String {
        format!("{}/{}", self.user_id, self.device_id.map(|id| id.to_string()).unwrap_or_default())
    }

    fn of_user(one: &Decided) -> Self {
        let state = if one.outcome == Outcome::Held.name() { "held" } else { "suppressed" };
        Self {
            user_id: one.user_id,
            device_id: None,
            decision_id: one.id,
            message_id: None,
            platform: None,
            state: state.to_owned(),
            reason: one.reason.clone(),
            attempts: Vec::new(),
            decided_at: Time(one.decided_ms),
            due_at: None,
            deadline: None,
            ended_at: None,
        }
    }

    fn of_device(one: &Decided, sent: Sent) -> Self {
        let attempt = |a: push::Attempt| TryOut {
            n: a.n,
            started_at: Time(a.started_ms),
            ended_at: Time(a.ended_ms),
            status: a.status,
            reason: a.reason,
        };
        let attempts = push::Attempt::all(sent.attempts.0, &sent.state, (sent.attempt, sent.sending_ms, sent.ended_ms));
        Self {
            device_id: Some(sent.device_id),
            message_id: Some(sent.id),
            platform: Some(sent.platform),
            state: sent.state,
            reason: sent.reason,
            attempts: attempts.into_iter().map(attempt).collect(),
            due_at: Some(Time(sent.due_ms)),
            deadline: Some(Time(sent.deadline_ms)),
            ended_at: sent.ended_ms.map(Time),
            ..Self::of_user(one)
        }
    }
}

/// Results after a key, in their order, at most so many.
///
/// # Errors
/// What the database says.
pub(in crate::moment) fn page(conn: &mut Conn, of: (AppId, PushId), (after, rows): (&str, i64)) -> Result<Vec<ResultOut>> {
    // The user of the key may have more devices.
    let user = after.split('/').next().unwrap_or_default();
    let decided = store::decided(conn, of, (user, true), rows.saturating_add(1))?;
    let ids: Vec<DecisionId> = decided.iter().map(|one| one.id).collect();
    let mut by_decision: HashMap<DecisionId, Vec<Sent>> = HashMap::new();
    for sent in store::sent(conn, of, &ids)? {
        by_decision.entry(sent.decision_id).or_default().push(sent);
    }
    let mut found = Vec::new();
    for one in &decided {
        let sent = by_decision.remove(&one.id).unwrap_or_default();
        if sent.is_empty() {
            found.push(ResultOut::of_user(one));
        }
        found.extend(sent.into_iter().map(|sent| ResultOut::of_device(one, sent)));
    }
    found.retain(|result| result.key().as_str() > after);
    found.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
    Ok(found)
}

/// All results, one JSON object on each line. It breaks off where the database fails.
pub(super) fn lines(platform: Platform, of: (AppId, PushId)) -> impl Stream<Item = Result<Bytes>> {
    unfold(Some(String::new()), move |after| {
        let platform = platform.clone();
        async move {
            let after = after?;
            let found = platform.store.read(move |conn| page(conn, of, (&after, ROWS))).await;
            match found.and_then(|results| Ok((text(&results)?, results.last().map(ResultOut::key)))) {
                Ok((_, None)) => None,
                Ok((text, key)) => Some((Ok(Bytes::from(text)), key)),
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

fn text(results: &[ResultOut]) -> Result<String> {
    let mut text = String::new();
    for result in results {
        text.push_str(&serde_json::to_string(result).map_err(Error::broken)?);
        text.push('\n');
    }
    Ok(text)
}

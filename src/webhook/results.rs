//! What came of messages, told to the app: one event each to endpoints that name `message.accepted` and the like, or up to
//! a hundred in one `message.results`, so that a large campaign is no storm of calls.
//!
//! Nothing is read or written per message where no endpoint listens. A `message.results` waits as ids of messages; whom
//! they went to is written in on the way out, so that a user who was erased since is not in it.

use super::filter::listens;
use super::store::{self, Endpoint, NewDelivery};
use super::{BODY_LIMIT_BYTES, Event, body, delivery_id};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, DeviceId, MessageId, UserId};
use crate::store::Conn;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The event that carries many results.
pub(super) const RESULTS: &str = "message.results";
/// Results in one of them.
const RESULTS_MAX: usize = 100;
/// Most bytes of its results: what stands around them takes less than the rest.
const RESULTS_BYTES_MAX: usize = BODY_LIMIT_BYTES - 200;
/// What a result takes more than its own line: the comma, and user and device, which are written in on the way out.
const ADDRESSEE_BYTES: usize = 100;

/// Every result of a message: its word, and the event that tells of it alone.
const KINDS: [(&str, &str); 12] = [
    ("accepted", "message.accepted"),
    ("rejected", "message.rejected"),
    ("expired", "message.expired"),
    ("revoked", "message.revoked"),
    ("token_dead", "message.token_dead"),
    ("cancelled", "message.cancelled"),
    ("unknown", "message.unknown"),
    ("delivered", "message.delivered"),
    ("displayed", "message.displayed"),
    ("opened", "message.opened"),
    ("dismissed", "message.dismissed"),
    ("recalled", "message.recalled"),
];

/// What came of a message, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageResult {
    /// Of which.
    pub message_id: MessageId,
    /// To whom it was.
    pub user_id: UserId,
    /// The state in which it ended, or what the phone said of it.
    pub kind: &'static str,
    /// When that happened, UTC milliseconds.
    pub at_ms: i64,
    /// Why it ended so; of a tap, the button.
    pub reason: Option<String>,
}

/// Whether an endpoint with this filter hears of results at all.
pub(super) fn hears_results(filter: &[String]) -> bool {
    listens(filter, RESULTS) || KINDS.iter().any(|(_, kind)| listens(filter, kind))
}

/// Tells the app's endpoints that listen; part of the transaction in which the results are known to be new. Where nobody
/// listens it is one look.
///
/// # Errors
/// What the database says.
pub fn tell_results(conn: &mut Conn, app: AppId, (results, now_ms): (&[MessageResult], i64)) -> Result<()> {
    if results.is_empty() {
        return Ok(());
    }
    let endpoints = store::hearing(conn, app)?;
    let (many, few): (Vec<Endpoint>, Vec<Endpoint>) = endpoints.into_iter().partition(|e| listens(&e.event_types.0, RESULTS));
    if !many.is_empty() {
        let events: Vec<Event> = batches(results).into_iter().map(|batch| together(batch, now_ms)).collect();
        write(conn, app, (&many, &events), |_, _| true)?;
    }
    if !few.is_empty() {
        let events: Vec<Event> = results.iter().filter_map(|result| alone(result, now_ms)).collect();
        write(conn, app, (&few, &events), |endpoint, event| listens(&endpoint.event_types.0, event.kind))?;
    }
    Ok(())
}

/// Parts results, in their order, among as many `message.results` as they need: a hundred phones that say long names of
/// buttons do not fit into one body.
pub fn batches(mut results: &[MessageResult]) -> Vec<&[MessageResult]> {
    let mut batches = Vec::new();
    while !results.is_empty() {
        let (batch, rest) = results.split_at(fitting(results));
        batches.push(batch);
        results = rest;
    }
    batches
}

/// How many of these, from the first on, go together. One alone always does: the words in it have limits of their own.
fn fitting(results: &[MessageResult]) -> usize {
    let mut bytes = 0;
    let fits = |result: &&MessageResult| {
        bytes += line(result).to_string().len() + ADDRESSEE_BYTES;
        bytes <= RESULTS_BYTES_MAX
    };
    results.iter().take(RESULTS_MAX).take_while(fits).count().max(1)
}

fn together(results: &[MessageResult], now_ms: i64) -> Event {
    let once: Vec<String> = results.iter().map(|r| format!("{}:{}", r.message_id, r.kind)).collect();
    let results: Vec<Value> = results.iter().map(line).collect();
    Event { kind: RESULTS, at_ms: now_ms, once: once.join(" "), user: None, partner: None, data: json!({ "results": results }) }
}

fn alone(result: &MessageResult, now_ms: i64) -> Option<Event> {
    let (_, kind) = KINDS.iter().find(|(word, _)| *word == result.kind)?;
    let mut data = line(result);
    data.as_object_mut().map(|line| line.remove("type"));
    Some(Event::of_user(kind, (result.user_id, now_ms), result.message_id, data))
}

fn line(result: &MessageResult) -> Value {
    let mut line = json!({ "message": result.message_id, "type": result.kind, "at": Time(result.at_ms) });
    if let Some(reason) = &result.reason {
        line["reason"] = json!(reason);
    }
    line
}

fn write(
    conn: &mut Conn,
    app: AppId,
    (endpoints, events): (&[Endpoint], &[Event]),
    hears: impl Fn(&Endpoint, &Event) -> bool,
) -> Result<()> {
    let mut deliveries = Vec::new();
    for endpoint in endpoints {
        for event in events.iter().filter(|event| hears(endpoint, event)) {
            let (id, missed) = (delivery_id(event, endpoint.id), !endpoint.enabled);
            deliveries.push(NewDelivery { id, webhook_id: endpoint.id, missed, body: body(event)?, event });
        }
    }
    store::insert_deliveries(conn, app, &deliveries)
}

/// The body of a `message.results` as it goes out: with whom each message went to, without those who are gone.
pub(super) fn addressed(conn: &mut Conn, app: AppId, body: &str) -> Result<String> {
    let mut body: Value = serde_json::from_str(body).map_err(Error::broken)?;
    let Some(lines) = body.pointer_mut("/data/results").and_then(Value::as_array_mut) else {
        return Err(Error::broken("a message.results has no results"));
    };
    let id = |line: &Value| line["message"].as_str().and_then(|text| text.parse::<MessageId>().ok());
    let ids: Vec<MessageId> = lines.iter().filter_map(id).collect();
    let known: HashMap<MessageId, (UserId, DeviceId)> = store::addressees(conn, app, &ids)?;
    lines.retain_mut(|line| {
        let Some((user, device)) = id(line).and_then(|id| known.get(&id)) else { return false };
        line["user"] = json!(user);
        line["device"] = json!(device);
        true
    });
    serde_json::to_string(&body).map_err(Error::broken)
}

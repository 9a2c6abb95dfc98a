//! Webhooks: the app's own servers and its partners are told what happened, signed (Standard Webhooks 1.0.0).
//!
//! [`emit`] is part of the transaction of the effect: it writes one delivery per endpoint that listens, body and id
//! fixed. The courier sends them until the endpoint says 2xx, on a schedule of days; what it could not bring is kept for
//! 30 days and can be sent again. An endpoint may get a delivery more than once, always under the same `webhook-id`, and
//! not in order. A disabled endpoint is sent nothing; what it misses is kept as failed.
//!
//! A partner's endpoints hear of users under that partner's own name for them ([`SUBJECT`]) and never their id.

mod courier;
mod filter;
pub mod http;
mod message;
pub mod personal;
mod results;
mod retention;
mod schedule;
mod sign;
mod store;

pub use courier::workers;
pub use filter::{check_filter, listens};
pub use results::{MessageResult, batches, tell_results};
pub use schedule::{ATTEMPTS_MAX, Heard, Next, judge, pause_ms};
pub use sign::{Key, signature};

use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, DeliveryId, PartnerId, UserId, WebhookId};
use crate::platform::{MasterKey, pairwise};
use crate::store::Conn;
use ring::digest;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::NewDelivery;
use uuid::Uuid;

/// Stands in a partner's event for the name by which the partner knows the user; it is written in on the way out.
pub const SUBJECT: &str = "{subject}";
/// Most bytes of a body: what is larger is not thin.
const BODY_LIMIT_BYTES: usize = 32_000;
/// Most names of changed fields in an event.
const NAMES_MAX: usize = 100;

/// Whose endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The tenant.
    pub app: AppId,
    /// One of its partners, or none: the app itself.
    pub partner: Option<PartnerId>,
}

/// Something that happened, thin: ids and names of fields, never what stands in them.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its type: words parted by dots.
    pub kind: &'static str,
    /// When it happened here: its deliveries are due, kept and found by it. What is older by somebody else's clock says so
    /// in `data`.
    pub at_ms: i64,
    /// Names the effect; the same event under the same name is told once.
    pub once: String,
    /// Whom it is about: erased with them.
    pub user: Option<UserId>,
    /// For one partner's endpoints alone; none: for the app's own.
    pub partner: Option<PartnerId>,
    /// What is told.
    pub data: Value,
}

impl Event {
    /// What the app is told of one of its users.
    pub fn of_user(kind: &'static str, (user, at_ms): (UserId, i64), once: impl std::fmt::Display, mut data: Value) -> Self {
        data["user"] = json!(user);
        Self { kind, at_ms, once: format!("{user}:{once}"), user: Some(user), partner: None, data }
    }

    /// What a user's change is told as: the names of what changed.
    pub fn of_change((user, at_ms): (UserId, i64), once: impl std::fmt::Display, changed: Vec<String>) -> Self {
        let names: Vec<_> = changed.into_iter().take(NAMES_MAX).collect();
        Self::of_user("user.updated", (user, at_ms), once, json!({ "changed": names }))
    }
}

/// What is sent and signed.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: Time,
    data: &'a Value,
}

/// Tells the endpoints that listen; part of the transaction of the effect. Without endpoints it is one look.
///
/// # Errors
/// What the database says.
pub fn emit(conn: &mut Conn, app: AppId, event: &Event) -> Result<()> {
    emit_all(conn, app, std::slice::from_ref(event))
}

/// Whether any endpoint of the app itself listens to an event: for those that cost something to put together.
///
/// # Errors
/// What the database says.
pub fn is_heard(conn: &mut Conn, app: AppId, kind: &str) -> Result<bool> {
    let endpoints = store::all(conn, Owner { app, partner: None })?;
    Ok(endpoints.iter().any(|endpoint| listens(&endpoint.event_types.0, kind)))
}

/// As [`emit`], for many events with one look per partner.
///
/// # Errors
/// What the database says.
pub fn emit_all(conn: &mut Conn, app: AppId, events: &[Event]) -> Result<()> {
    let mut by_partner: BTreeMap<Option<PartnerId>, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_partner.entry(event.partner).or_default().push(event);
    }
    for (partner, events) in by_partner {
        let endpoints = store::all(conn, Owner { app, partner })?;
        let mut deliveries = Vec::new();
        for endpoint in &endpoints {
            for event in events.iter().filter(|event| listens(&endpoint.event_types.0, event.kind)) {
                deliveries.push(NewDelivery {
                    id: delivery_id(event, endpoint.id),
                    webhook_id: endpoint.id,
                    missed: !endpoint.enabled,
                    body: body(event)?,
                    event,
                });
            }
        }
        store::insert_deliveries(conn, app, &deliveries)?;
    }
    Ok(())
}

fn body(event: &Event) -> Result<String> {
    let body = Body { kind: event.kind, timestamp: Time(event.at_ms), data: &event.data };
    let text = serde_json::to_string(&body).map_err(Error::broken)?;
    if text.len() > BODY_LIMIT_BYTES {
        return Err(Error::broken(format!("the event {} is too large for a webhook", event.kind)));
    }
    Ok(text)
}

/// The same event for the same endpoint has the same id, however often it is told; ids sort by the event's time.
fn delivery_id(event: &Event, endpoint: WebhookId) -> DeliveryId {
    let name = format!("{}\n{}\n{endpoint}", event.kind, event.once);
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    let (high, low) = Uuid::from_bytes(bytes).as_u64_pair();
    let ms = u64::try_from(event.at_ms).unwrap_or(0);
    // RFC 9562 §5.7, with a hash where chance would be.
    Uuid::from_u64_pair((ms << 16) | 0x7000 | (high & 0xfff), (low & (u64::MAX >> 2)) | (1 << 63)).into()
}

/// The body as it goes to a partner: with the partner's own name for the user.
fn fill(key: &MasterKey, app: AppId, (partner, user): (PartnerId, UserId), body: &str) -> String {
    body.replacen(&format!("\"{SUBJECT}\""), &format!("\"{}\"", pairwise(key, app, partner, user)), 1)
}

//! `/v1/webhooks`: wire types, what the routes do for any owner, and the handlers for the app's own endpoints. The
//! handlers for partners' endpoints live with the partners.

pub mod desk;
pub mod own;

use super::filter::{FILTER_MAX, check_filter};
use super::store::{Attempt, Delivery, Endpoint};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{check_text, given};
use crate::id::{DeliveryId, WebhookId};
use serde::{Deserialize, Serialize};

/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 200;

/// An endpoint to add.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhook)]
pub struct WebhookIn {
    /// Where to send: https on port 443 or from 1024 on, at a public address.
    #[schema(max_length = 2048)]
    pub(super) url: String,
    /// For people.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(super) description: String,
    /// Names such as `user.created`, and `user.*` for all below; left out or empty: everything.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub(super) event_types: Vec<String>,
}

/// A change of an endpoint: what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 2048)]
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 200)]
    pub(super) description: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 50)]
    pub(super) event_types: Option<Vec<String>>,
    /// False: nothing is sent, what it misses is kept as failed. True lifts a disabling of any reason.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub(super) enabled: Option<bool>,
}

/// An endpoint.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookOut {
    pub(super) id: WebhookId,
    url: String,
    description: String,
    event_types: Vec<String>,
    enabled: bool,
    /// `by_owner`; `gone`: it answered 410; `failing`: nothing arrived for five days.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<Time>,
    /// The first failure since the last success.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Time>,
    secret_created_at: Time,
    /// Until when the secret before signs too.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_expires_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

/// An endpoint with its new secret, which is never shown again.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = NewWebhookSecret)]
pub struct WebhookSecretOut {
    #[serde(flatten)]
    pub(super) webhook: WebhookOut,
    /// `whsec_…`: keep it now; verify signatures with it.
    pub(super) secret: String,
}

impl WebhookOut {
    pub(super) fn of(endpoint: Endpoint, now_ms: i64) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url,
            description: endpoint.description,
            event_types: endpoint.event_types.0,
            enabled: endpoint.enabled,
            disabled_reason: endpoint.disabled_reason,
            disabled_at: endpoint.disabled_ms.map(Time),
            failing_since: endpoint.failing_since_ms.map(Time),
            secret_created_at: Time(endpoint.secret_ms),
            old_secret_expires_at: endpoint.old_secret_until_ms.filter(|until_ms| now_ms < *until_ms).map(Time),
            created_at: Time(endpoint.created_ms),
            updated_at: Time(endpoint.updated_ms),
        }
    }
}

/// How to rotate.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateWebhookSecret)]
pub struct RotateIn {
    /// How long the old secret signs beside the new one, in milliseconds, up to seven days; one day when left out, 0:
    /// it is revoked now.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 604800000_i64)]
    pub(super) overlap_ms: Option<i64>,
}

/// What came of a test message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookTested)]
pub struct TestOut {
    /// The message's `webhook-id`.
    pub(super) id: DeliveryId,
    pub(super) delivered: bool,
    /// The status that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    pub(super) duration_ms: i64,
    /// Why it was not delivered, in a word such as `refused`, `timeout`, `tls`, `forbidden_address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent, or being sent.
    Waiting,
    /// The endpoint has it.
    Delivered,
    /// Given up; it can be sent again.
    Failed,
}

impl DeliveryState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Which deliveries to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// Only those in this state.
    pub(super) state: Option<DeliveryState>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    pub(super) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// One attempt to deliver.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct AttemptOut {
    at: Time,
    /// The status that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    duration_ms: i64,
    /// Why it was not delivered, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl From<Attempt> for AttemptOut {
    fn from(attempt: Attempt) -> Self {
        let Attempt { at_ms, status, duration_ms, failure } = attempt;
        Self { at: Time(at_ms), status, duration_ms, failure }
    }
}

/// One event on its way to one endpoint.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryOut {
    /// The `webhook-id` of every attempt.
    id: DeliveryId,
    #[serde(rename = "type")]
    kind: String,
    /// `waiting`, `delivered` or `failed`.
    state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Oldest first, the last 50.
    attempts: Vec<AttemptOut>,
    /// When it is sent next; while it is being sent, when it is taken for lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Time>,
    created_at: Time,
    /// When it was delivered or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

impl From<Delivery> for DeliveryOut {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            kind: delivery.event_type,
            next_attempt_at: delivery.ended_ms.is_none().then_some(Time(delivery.due_ms)),
            state: delivery.state,
            reason: delivery.reason,
            attempts: delivery.attempts.0.into_iter().map(AttemptOut::from).collect(),
            created_at: Time(delivery.created_ms),
            ended_at: delivery.ended_ms.map(Time),
        }
    }
}

/// Which failed deliveries to send again.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayWebhook)]
pub struct ReplayIn {
    /// All that were made at this time or later.
    pub(super) since: Time,
}

/// How many are sent again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookReplayed)]
pub struct ReplayOut {
    pub(super) replayed: usize,
}

fn check_description(text: &str) -> Result<()> {
    if text.is_empty() { Ok(()) } else { check_text("description", text, DESCRIPTION_CHARS_MAX) }
}

fn check_event_types(entries: &[String]) -> Result<()> {
    if entries.len() > FILTER_MAX {
        return Err(Error::invalid("event_types", "too_long", format!("at most {FILTER_MAX} entries")));
    }
    let wrong = entries.iter().find_map(|entry| check_filter(entry).err());
    wrong.map_or(Ok(()), |message| Err(Error::invalid("event_types", "invalid", message)))
}

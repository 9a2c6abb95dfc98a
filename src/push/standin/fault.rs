//! Faults on request: what a gateway does on a bad day.

use super::Reply;
use crate::push::Gateway;
use crate::push::fcm::ErrorCode;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An answer other than 200.
    Answer {
        /// HTTP status.
        status: u16,
        /// The gateway's word: an APNs reason or an FCM error code.
        reason: String,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_s: Option<i64>,
        /// `timestamp` of an APNs 410, UTC milliseconds.
        #[serde(default)]
        timestamp_ms: Option<i64>,
    },
    /// The push is taken, the connection ends before the answer.
    CutAfterRequest,
    /// The stream is refused: not processed.
    RefuseStream,
    /// A GOAWAY arrives instead of the answer.
    GoAway {
        /// Which stream it names as the last one.
        last: GoneTo,
        /// Whether the connection ends with it.
        close: bool,
    },
    /// The answer comes after this long, in real milliseconds.
    Slow {
        /// Real milliseconds.
        wait_ms: u64,
    },
    /// The push is taken and never answered.
    Silent,
}

/// The last stream that a GOAWAY vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoneTo {
    /// The one before this push: this push was not processed.
    Before,
    /// This push: it may have been processed.
    This,
    /// All: a notice that the connection will end; this push is answered.
    All,
}

/// When a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only for this gateway.
    #[serde(default)]
    pub gateway: Option<Gateway>,
    /// Only for pushes to this token.
    #[serde(default)]
    pub token: Option<String>,
    /// How often; absent: until it is taken back.
    #[serde(default)]
    pub times: Option<u32>,
    /// What goes wrong.
    pub fault: Fault,
}

impl Rule {
    /// A fault that strikes the next push, once.
    pub fn once(fault: Fault) -> Self {
        Self { gateway: None, token: None, times: Some(1), fault }
    }

    /// A fault that strikes every push.
    pub fn always(fault: Fault) -> Self {
        Self { gateway: None, token: None, times: None, fault }
    }

    /// The same for one token only.
    #[must_use]
    pub fn to(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Rule>>);

impl Faults {
    pub(super) fn add(&self, rule: Rule) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    pub(super) fn replace(&self, rules: Vec<Rule>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// The fault for this push, if any; counts it as used.
    pub(super) fn strike(&self, gateway: Gateway, token: &str) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = rules.iter().position(|rule| {
            rule.times != Some(0) && rule.gateway.is_none_or(|g| g == gateway) && rule.token.as_deref().is_none_or(|t| t == token)
        })?;
        let rule = rules.get_mut(hit)?;
        rule.times = rule.times.map(|n| n - 1);
        let fault = rule.fault.clone();
        rules.retain(|rule| rule.times != Some(0));
        Some(fault)
    }
}

/// The answer of an [`Fault::Answer`], in the gateway's own shape.
pub(super) fn answer(gateway: Gateway, status: u16, reason: &str, timestamp_ms: Option<i64>) -> Reply {
    match gateway {
        Gateway::Apns => super::apns::error(status, reason, timestamp_ms),
        Gateway::Fcm => super::fcm::error(status, ErrorCode::parse(reason), reason),
    }
}

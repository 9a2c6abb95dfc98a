//! Faults on request: what a gateway does on a bad day.

use super::Reply;
use crate::push::Gateway;
use crate::push::fcm::ErrorCode;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An answer other than 200 and 201.
    Answer {
        /// HTTP status.
        status: u16,
        /// The gateway's word: an APNs reason, an FCM error code, or an `errno` of Mozilla's push service.
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
    /// As `go_away`, with a word of explanation in it, as Apple's have: `{"reason": …}`.
    Farewell {
        /// Which stream it names as the last one.
        last: GoneTo,
        /// Whether the connection ends with it.
        close: bool,
        /// The word, e.g. `Shutdown`.
        reason: String,
    },
    /// The push is taken, the stream is reset with this code of HTTP/2 instead of an answer.
    Reset {
        /// 0 to 13: `INTERNAL_ERROR` is 2, `CANCEL` is 8, `ENHANCE_YOUR_CALM` is 11.
        code: u32,
    },
    /// The push is taken, the head of the answer leaves, and the connection ends before its body.
    CutInAnswer,
    /// The whole connection stands still for this long, in real milliseconds; then the push is answered.
    Stall {
        /// Real milliseconds.
        wait_ms: u64,
    },
    /// The answer's body comes byte by byte, in real time. An answer without a body comes late by one pause.
    Drip {
        /// Real milliseconds between two bytes.
        every_ms: u64,
    },
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

/// What a client meets that opens a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// A gateway.
    #[default]
    Open,
    /// The connection ends at once.
    Closed,
    /// The connection stays, and nobody speaks TLS.
    Mute,
    /// TLS, and then the end.
    CutAfterTls,
    /// TLS, and then nothing: no SETTINGS ever come.
    NoSettings,
}

/// How many messages of a Firebase project are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// In each minute that begins with a project's first message.
    pub per_minute: u32,
    /// What `Retry-After` says beyond, in seconds; absent: the header is left out.
    #[serde(default)]
    pub retry_after_s: Option<i64>,
}

/// The quota in force, and what each project has used since when.
#[derive(Default)]
pub(super) struct Quotas(Mutex<(Option<Quota>, HashMap<String, (i64, u32)>)>);

impl Quotas {
    pub(super) fn set(&self, quota: Option<Quota>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (quota, HashMap::new());
    }

    /// The refusal of a message beyond the quota.
    pub(super) fn refusal(&self, project_id: &str, now_ms: i64) -> Option<Reply> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (quota, used) = &mut *state;
        let quota = quota.as_ref()?;
        let (since_ms, n) = used.entry(project_id.to_owned()).or_insert((now_ms, 0));
        if now_ms - *since_ms >= 60_000 || now_ms < *since_ms {
            (*since_ms, *n) = (now_ms, 0);
        }
        if *n < quota.per_minute {
            *n += 1;
            return None;
        }
        let reply = super::fcm::error(429, Some(ErrorCode::QuotaExceeded), "QUOTA_EXCEEDED");
        Some(Reply { retry_after_s: quota.retry_after_s, ..reply })
    }
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
        Gateway::WebPush => super::webpush::error(status, reason),
    }
}

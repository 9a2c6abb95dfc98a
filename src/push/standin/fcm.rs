//! Google's side: the token exchange, what a message must look like, and Google's words when it does not.

use super::android::Android;
use super::control::plain;
use super::ledger::{Row, Stamped};
use super::phones::Standing;
use super::{Inner, Reply, spelling};
use crate::people::device::FID_PREFIX;
use crate::push::fcm::ErrorCode;
use crate::push::{Environment, Gateway, fcm};
use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A refusal in Google's shape; `reason` is the canonical status when FCM has no code for it.
pub(super) fn error(status: u16, code: Option<ErrorCode>, reason: &str) -> Reply {
    let details = code.map_or_else(
        || json!([]),
        |c| json!([{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": c.name()}]),
    );
    let canonical = match (status, code) {
        (400, _) => "INVALID_ARGUMENT",
        (401, _) => "UNAUTHENTICATED",
        (403, _) => "PERMISSION_DENIED",
        (404, _) => "NOT_FOUND",
        (429, _) => "RESOURCE_EXHAUSTED",
        (500, _) => "INTERNAL",
        (503, _) => "UNAVAILABLE",
        _ => reason,
    };
    let body = json!({"error": {"code": status, "message": reason, "status": canonical, "details": details}});
    Reply::new(status, Some(reason.to_owned()), body.to_string())
}

pub(super) fn bad_request(field: &str) -> Reply {
    let details = json!([{"@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": "invalid value"}]}]);
    let body = json!({"error": {"code": 400, "message": "invalid", "status": "INVALID_ARGUMENT", "details": details}});
    Reply::new(400, Some(format!("INVALID_ARGUMENT {field}")), body.to_string())
}

/// The refusal of a call that shows no access token for this project.
pub(super) fn stranger(inner: &Inner, headers: &HeaderMap, project_id: &str) -> Option<Reply> {
    let bearer = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let sold = bearer.and_then(|token| inner.keys.access(token)).filter(|sold| sold.expires_ms > inner.clock.now_ms());
    match sold {
        None => Some(error(401, None, "UNAUTHENTICATED")),
        Some(sold) if sold.project_id != project_id => Some(error(403, None, "PERMISSION_DENIED")),
        Some(_) => None,
    }
}

/// The URL that a request was made to, as far as the request says; nobody comes without TLS.
fn asked_at(head: &Parts) -> Option<String> {
    let host = || head.headers.get(HOST).and_then(|v| v.to_str().ok());
    let authority = head.uri.authority().map(Authority::as_str).or_else(host)?;
    Some(format!("{}://{authority}{}", head.uri.scheme_str().unwrap_or("https"), head.uri.path()))
}

/// `POST /token`. An assertion is for Google, or for the very URL that it came to: libraries name the `token_uri` that they
/// were given.
pub(super) fn exchange(inner: &Inner, head: &Parts, body: &[u8]) -> Reply {
    let text = std::str::from_utf8(body).unwrap_or("");
    let field = |name: &str| {
        let written = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        plain(written).ok()
    };
    let result = match (field("grant_type").as_deref(), field("assertion")) {
        (Some("urn:ietf:params:oauth:grant-type:jwt-bearer"), Some(assertion)) => {
            inner.keys.exchange(&assertion, asked_at(head).as_deref(), inner.clock.now_ms())
        }
        _ => Err("unsupported_grant_type"),
    };
    match result {
        Ok(token) => {
            let body = json!({"access_token": token, "expires_in": 3_600, "token_type": "Bearer"});
            Reply::new(200, None, body.to_string())
        }
        Err(word) => Reply::new(400, Some(word.to_owned()), json!({"error": word}).to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Send {
    #[serde(default)]
    validate_only: bool,
    message: Message,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Message {
    token: Option<String>,
    topic: Option<String>,
    condition: Option<String>,
    fid: Option<String>,
    #[serde(default)]
    data: BTreeMap<String, String>,
    notification: Option<Notification>,
    android: Option<Android>,
    apns: Option<Map<String, Value>>,
    webpush: Option<Map<String, Value>>,
    fcm_options: Option<Options>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notification {
    title: Option<String>,
    body: Option<String>,
    image: Option<String>,
}

/// `fcmOptions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Options {
    analytics_label: Option<String>,
}

impl Options {
    pub(super) fn is_valid(&self) -> bool {
        self.analytics_label.as_deref().is_none_or(|label| {
            (1..=50).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'%'))
        })
    }
}

/// The bytes of all keys and values.
pub(super) fn size_of(map: &Map<String, Value>) -> usize {
    map.iter().map(|(key, value)| key.len() + fcm::count(value)).sum()
}

/// A message as it arrived.
pub(super) struct Arrived<'a> {
    pub(super) project_id: &'a str,
    pub(super) headers: &'a HeaderMap,
    body: &'a [u8],
    send: Result<Send, String>,
}

impl<'a> Arrived<'a> {
    pub(super) fn new(project_id: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        let send = spelling::read(body).map_err(|e| e.to_string());
        Self { project_id, headers, body, send }
    }

    /// The token that it is for, an installation id as `fid:…`, the name of a topic; empty when there is none of them.
    pub(super) fn token(&self) -> String {
        let Ok(send) = &self.send else { return String::new() };
        match (&send.message.token, &send.message.fid) {
            (Some(token), _) => token.clone(),
            (None, Some(fid)) => format!("{FID_PREFIX}{fid}"),
            // Who listens to it is known to Google alone.
            (None, None) if send.validate_only => String::new(),
            (None, None) => send.message.topic.clone().unwrap_or_default(),
        }
    }

    /// Whether it is for all who have subscribed to something.
    fn is_broadcast(&self) -> bool {
        self.send.as_ref().is_ok_and(|s| s.message.topic.is_some() || s.message.condition.is_some())
    }

    /// Most bytes of keys and values.
    fn limit_bytes(&self) -> usize {
        if self.is_broadcast() { fcm::PAYLOAD_LIMIT_BYTES / 2 } else { fcm::PAYLOAD_LIMIT_BYTES }
    }

    /// Google's answer.
    pub(super) fn judge(&self, inner: &Inner, n: usize) -> Reply {
        let now_ms = inner.clock.now_ms();
        if let Some(refusal) = stranger(inner, self.headers, self.project_id) {
            return refusal;
        }
        let send = match &self.send {
            Ok(send) => send,
            Err(why) => return bad_request(why),
        };
        if let Err(field) = send.message.check() {
            return bad_request(field);
        }
        if self.body.len() > fcm::PAYLOAD_LIMIT_BYTES * 2 || send.message.size_bytes() > self.limit_bytes() {
            return bad_request("message");
        }
        match inner.phones.standing(&self.token(), Gateway::Fcm, Environment::Production, self.project_id) {
            Standing::Live => {}
            Standing::Unheard if inner.any_token || self.is_broadcast() => {}
            Standing::OtherApp => return error(403, Some(ErrorCode::SenderIdMismatch), "SENDER_ID_MISMATCH"),
            Standing::Unheard | Standing::Elsewhere | Standing::Dead(_) => {
                return error(404, Some(ErrorCode::Unregistered), "UNREGISTERED");
            }
        }
        let id = if send.validate_only { "fake_message_id".to_owned() } else { format!("0:{now_ms}%{n}") };
        Reply::new(200, None, json!({"name": format!("projects/{}/messages/{id}", self.project_id)}).to_string())
    }

    /// What the ledger keeps of it; the answer is filled in later.
    pub(super) fn row(&self, at_ms: i64) -> Row {
        let message = self.send.as_ref().ok().map(|s| &s.message);
        let data = message.map(|m| &m.data);
        let text = |key: &str| data.and_then(|d| d.get(key)).cloned();
        let android = message.and_then(|m| m.android.as_ref());
        #[expect(clippy::cast_possible_truncation, reason = "at most four weeks")]
        let ttl_ms = android.and_then(Android::ttl_s).map(|s| (s * 1_000.0) as i64);
        let kairos = || {
            Some(Stamped {
                message_id: text("kairos_message_id")?,
                decision_id: text("kairos_decision_id")?,
                campaign_id: text("kairos_campaign_id")?,
                deadline_ms: text("kairos_deadline_ms")?.parse().ok()?,
                recall: text("kairos_recall"),
            })
        };
        Row {
            n: 0,
            at_ms,
            real_ms: 0,
            gateway: Gateway::Fcm,
            token: self.token(),
            push_id: text("kairos_message_id").or_else(|| text("kairos_broadcast_id")),
            collapse_id: android.and_then(|a| a.collapse_key.clone()),
            keep_until_ms: ttl_ms.map(|ms| at_ms + ms),
            kairos: kairos(),
            text: message.and_then(|m| m.notification.as_ref()).and_then(|n| n.body.clone()),
            sealed: text("kairos_sealed"),
            aps: message.and_then(|m| m.apns.as_ref()?.get("payload")?.get("aps").cloned()),
            priority: None,
            answer: String::new(),
            delivered: false,
        }
    }
}

impl Message {
    /// The field at fault.
    fn check(&self) -> Result<(), &'static str> {
        let targets = [&self.token, &self.topic, &self.condition, &self.fid].iter().filter(|t| t.is_some()).count();
        if targets != 1 {
            return Err("message");
        }
        if self.token.as_deref() == Some("") {
            return Err("message.token");
        }
        let reserved = |key: &String| {
            key == "from" || key == "message_type" || key.starts_with("google.") || key.starts_with("gcm.notification.")
        };
        if self.data.keys().any(reserved) {
            return Err("message.data");
        }
        if let Some(android) = &self.android {
            android.check()?;
        }
        if self.fcm_options.as_ref().is_some_and(|options| !options.is_valid()) {
            return Err("message.fcm_options.analytics_label");
        }
        let extras = [&self.apns, &self.webpush];
        if extras.iter().any(|m| m.as_ref().is_some_and(Map::is_empty)) {
            return Err("message.apns");
        }
        Ok(())
    }

    fn size_bytes(&self) -> usize {
        let data: usize = self.data.iter().map(|(k, v)| k.len() + v.len()).sum();
        data + self.android.as_ref().map_or(0, Android::size_bytes)
            + self.notification.as_ref().map_or(0, |n| {
                [("title", &n.title), ("body", &n.body), ("image", &n.image)]
                    .iter()
                    .map(|(key, text)| text.as_ref().map_or(0, |text| key.len() + text.len()))
                    .sum()
            })
    }
}

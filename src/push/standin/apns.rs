//! Apple's side: what a request must look like, and Apple's words when it does not.

use super::broadcast;
use super::connection::Wire;
use super::keys::TeamKey;
use super::ledger::{Row, Stamped};
use super::phones::Standing;
use super::{Inner, Reply};
use crate::people::device::own_word;
use crate::push::content::{Kind, Shape};
use crate::push::{Environment, Gateway, apns};
use http::HeaderMap;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const HOUR_S: i64 = 3_600;
const RENEW_AT_MOST_EVERY_S: i64 = 20 * 60;
const SKEW_S: i64 = 300;

/// A refusal in Apple's shape.
pub(super) fn error(status: u16, reason: &str, timestamp_ms: Option<i64>) -> Reply {
    let mut body = json!({"reason": reason});
    if let (Some(ms), Some(map)) = (timestamp_ms, body.as_object_mut()) {
        map.insert("timestamp".to_owned(), Value::from(ms));
    }
    Reply::new(status, Some(reason.to_owned()), body.to_string())
}

/// A push as it arrived.
pub(super) struct Arrived<'a> {
    pub(super) authority: &'a str,
    pub(super) token: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

type Verdict = Result<(), (u16, &'static str, Option<i64>)>;

impl Arrived<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    fn environment(&self) -> Environment {
        if self.authority == apns::SANDBOX { Environment::Sandbox } else { Environment::Production }
    }

    /// Apple's answer.
    pub(super) fn judge(&self, inner: &Inner, wire: &Wire) -> Reply {
        let result = self
            .repeated()
            .and_then(|()| self.authenticated(inner, wire))
            .and_then(|()| self.well_formed())
            .and_then(|()| self.deliverable(inner));
        let mut reply = match result {
            Ok(()) => Reply::new(200, None, ""),
            Err((status, reason, timestamp_ms)) => error(status, reason, timestamp_ms),
        };
        // Apple, "Handling notification responses from APNs": a push without an id is given one, and of what the sandbox takes
        // its console knows more by another.
        reply.apns_id = self.header("apns-id").map(str::to_owned).or_else(new_uuid);
        if reply.status == 200 && self.environment() == Environment::Sandbox {
            reply.unique_id = new_uuid();
        }
        reply
    }

    fn repeated(&self) -> Verdict {
        let repeated = self.headers.keys().any(|name| self.headers.get_all(name).iter().nth(1).is_some());
        if repeated { Err((400, "DuplicateHeaders", None)) } else { Ok(()) }
    }

    /// The key that the request was signed with, when it is good here.
    pub(super) fn key(
        &self,
        inner: &Inner,
        wire: &Wire,
        environment: Environment,
    ) -> Result<Arc<TeamKey>, (u16, &'static str, Option<i64>)> {
        let text = self.header("authorization").ok_or((403, "MissingProviderToken", None))?;
        let token = text.strip_prefix("bearer ").or_else(|| text.strip_prefix("Bearer "));
        let token = token.ok_or((403, "MissingProviderToken", None))?;
        let checked = inner.keys.provider(token).ok_or((403, "InvalidProviderToken", None))?;
        let now_s = inner.clock.now_ms().div_euclid(1_000);
        if checked.iat_s > now_s + SKEW_S {
            return Err((403, "InvalidProviderToken", None));
        }
        if now_s - checked.iat_s > HOUR_S {
            return Err((403, "ExpiredProviderToken", None));
        }
        if checked.key.environment != environment {
            return Err((403, "BadEnvironmentKeyIdInToken", None));
        }
        wire.bind(&checked.key.team_id, &checked.key.key_id).map_err(|reason| (403, reason, None))?;
        if !wire.shows(token, checked.iat_s, RENEW_AT_MOST_EVERY_S) {
            return Err((429, "TooManyProviderTokenUpdates", None));
        }
        Ok(checked.key)
    }

    fn authenticated(&self, inner: &Inner, wire: &Wire) -> Verdict {
        let key = self.key(inner, wire, self.environment())?;
        let topic = self.header("apns-topic").ok_or((400, "MissingTopic", None))?;
        let app = self.app().unwrap_or(topic);
        if !key.topics.iter().any(|t| t == app) {
            return Err((400, "TopicDisallowed", None));
        }
        Ok(())
    }

    fn kind(&self) -> Option<Kind<'static>> {
        Kind::named(self.header("apns-push-type")?)
    }

    /// The app's bundle id: the topic without what this kind of push adds to it.
    fn app(&self) -> Option<&str> {
        self.header("apns-topic")?.strip_suffix(self.kind()?.suffix)
    }

    fn well_formed(&self) -> Verdict {
        let bad = |reason| Err((400, reason, None));
        if self.header("apns-id").is_some_and(|id| !is_uuid(id)) {
            return bad("BadMessageId");
        }
        let Some(kind) = self.kind() else { return bad("InvalidPushType") };
        if self.app().is_none() {
            return bad("BadTopic");
        }
        let priority = self.header("apns-priority").unwrap_or("10");
        if !["1", "5", "10"].contains(&priority) || kind == Kind::BACKGROUND && priority != "5" {
            return bad("BadPriority");
        }
        if self.header("apns-expiration").is_some_and(|text| text.parse::<u64>().is_err()) {
            return bad("BadExpirationDate");
        }
        if self.header("apns-collapse-id").is_some_and(|id| id.len() > 64) {
            return bad("BadCollapseId");
        }
        if self.body.is_empty() {
            return bad("PayloadEmpty");
        }
        if self.body.len() > kind.limit_bytes {
            return Err((413, "PayloadTooLarge", None));
        }
        if kind == Kind::LIVE_ACTIVITY {
            // A phone drops what is no frame without a word; a sender is better told.
            let frame = broadcast::is_frame(self.body, &["start", "update", "end"]) && priority != "1";
            return if frame { Ok(()) } else { bad("BadRequestPayload") };
        }
        let Ok(Payload { aps, .. }) = serde_json::from_slice::<Payload>(self.body) else { return bad("PayloadEmpty") };
        let shown = aps.alert.is_some() || aps.sound.is_some() || aps.badge.is_some();
        let is_of_kind = match kind.shape {
            Shape::Shown => shown,
            Shape::Background => !shown && aps.content_available == Some(1),
            Shape::Changed => !shown && aps.content_changed == Some(true),
            Shape::Free => true,
        };
        if is_of_kind { Ok(()) } else { bad("InvalidPushType") }
    }

    fn deliverable(&self, inner: &Inner) -> Verdict {
        if self.token.is_empty() {
            return Err((400, "MissingDeviceToken", None));
        }
        let hex = self.token.len().is_multiple_of(2) && self.token.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return Err((400, "BadDeviceToken", None));
        }
        // Kinds of push that have tokens of their own know none of the app's others: such a phone's topic is the whole one.
        let own = self.kind().is_some_and(|kind| own_word(kind.word).is_some());
        let topic = if own { self.header("apns-topic") } else { self.app() }.unwrap_or("");
        match inner.phones.standing(self.token, Gateway::Apns, self.environment(), topic) {
            Standing::Live => Ok(()),
            // Nobody's token is never anybody's.
            Standing::Unheard if inner.any_token && self.token.bytes().any(|b| b != b'0') => Ok(()),
            Standing::Unheard | Standing::Elsewhere => Err((400, "BadDeviceToken", None)),
            Standing::OtherApp => Err((400, "DeviceTokenNotForTopic", None)),
            Standing::Dead(since_ms) => Err((410, "Unregistered", Some(since_ms))),
        }
    }

    /// What the ledger keeps of it; the answer is filled in later.
    pub(super) fn row(&self, at_ms: i64) -> Row {
        let payload: Option<Payload> = serde_json::from_slice(self.body).ok();
        let live = self.kind() == Some(Kind::LIVE_ACTIVITY);
        let expiration_s = self.header("apns-expiration").and_then(|text| text.parse::<i64>().ok());
        let text = payload.as_ref().and_then(|p| p.aps.alert.as_ref()).and_then(|alert| match alert {
            Value::String(text) => Some(text.clone()),
            other => other.get("body").and_then(Value::as_str).map(str::to_owned),
        });
        Row {
            n: 0,
            at_ms,
            real_ms: 0,
            gateway: Gateway::Apns,
            token: self.token.to_owned(),
            push_id: self.header("apns-id").map(str::to_owned),
            collapse_id: self.header("apns-collapse-id").map(str::to_owned),
            keep_until_ms: expiration_s.map(|s| if s == 0 { at_ms } else { s * 1_000 }),
            kairos: serde_json::from_slice::<WithStamp>(self.body).ok().map(|p| p.kairos),
            text,
            sealed: payload.and_then(|p| p.kairos_sealed),
            aps: if live { broadcast::aps(self.body).map(Value::Object) } else { None },
            priority: self.header("apns-priority").filter(|_| live).map(str::to_owned),
            answer: String::new(),
            delivered: false,
        }
    }
}

#[derive(Deserialize)]
struct Payload {
    aps: Aps,
    #[serde(default)]
    kairos_sealed: Option<String>,
}

#[derive(Deserialize)]
struct Aps {
    alert: Option<Value>,
    sound: Option<Value>,
    badge: Option<Value>,
    #[serde(rename = "content-available")]
    content_available: Option<u8>,
    #[serde(rename = "content-changed")]
    content_changed: Option<bool>,
}

#[derive(Deserialize)]
struct WithStamp {
    kairos: Stamped,
}

/// None: the machine has no randomness.
fn new_uuid() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, b)| match n {
            8 | 13 | 18 | 23 => b == b'-',
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        })
}

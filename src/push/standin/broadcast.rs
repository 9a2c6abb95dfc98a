//! Apple's side of Live Activities: what their payloads must look like, broadcast channels and what goes out over them.

use super::apns::{Arrived, error};
use super::connection::Wire;
use super::ledger::Row;
use super::{Inner, Reply};
use crate::push::activity::BROADCAST_LIMIT_BYTES;
use crate::push::{Environment, Gateway, apns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most channels of a bundle id in one environment.
const CHANNELS_MAX: usize = 10_000;

type Verdict = Result<(), (u16, &'static str)>;
/// Where a channel is: environment and bundle id, then Apple's name for it.
type Place = (Environment, String, String);

/// The channels that were made here.
pub(super) struct Channels {
    state: Mutex<State>,
}

struct State {
    /// Whether each keeps its latest broadcast.
    known: BTreeMap<Place, bool>,
    most: usize,
    /// Bundle ids that may not broadcast.
    barred: Vec<String>,
}

impl Default for Channels {
    fn default() -> Self {
        Self { state: Mutex::new(State { known: BTreeMap::new(), most: CHANNELS_MAX, barred: Vec::new() }) }
    }
}

/// What the stand-in's own URL changes about channels.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// How many channels there may be.
    #[serde(default)]
    pub(super) most: Option<usize>,
    /// Bundle ids without the capability to broadcast.
    #[serde(default)]
    pub(super) barred: Vec<String>,
}

impl Channels {
    pub(super) fn rule(&self, rules: Rules) {
        let mut state = self.state();
        state.most = rules.most.unwrap_or(CHANNELS_MAX);
        state.barred = rules.barred;
    }

    /// Apple's names of the channels of a bundle id.
    pub(super) fn names(&self, environment: Environment, bundle: &str) -> Vec<String> {
        let state = self.state();
        state.known.keys().filter(|(of, app, _)| *of == environment && app == bundle).map(|(.., name)| name.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request about channels, or a broadcast, as it arrived.
pub(super) struct Request<'a> {
    pub(super) authority: &'a str,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

#[derive(Deserialize)]
struct NewChannel {
    #[serde(rename = "push-type")]
    push_type: Option<String>,
    #[serde(rename = "message-storage-policy")]
    policy: Option<i64>,
}

impl Request<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    fn environment(&self) -> Environment {
        let sandbox = [apns::SANDBOX, apns::MANAGE_SANDBOX.authority].contains(&self.authority);
        if sandbox { Environment::Sandbox } else { Environment::Production }
    }

    /// The bundle id of a broadcast's path.
    pub(super) fn broadcast_bundle(&self) -> Option<&str> {
        self.path.strip_prefix("/4/broadcasts/apps/").filter(|bundle| !bundle.is_empty() && !bundle.contains('/'))
    }

    /// The bundle id and the rest of a path about channels.
    pub(super) fn manage_path(&self) -> Option<(&str, &str)> {
        self.path.strip_prefix("/1/apps/")?.split_once('/').filter(|(_, rest)| ["channels", "all-channels"].contains(rest))
    }

    fn authenticated(&self, inner: &Inner, wire: &Wire, bundle: &str) -> Verdict {
        let arrived = Arrived { authority: self.authority, token: "", headers: self.headers, body: self.body };
        let key = arrived.key(inner, wire, self.environment()).map_err(|(status, reason, _)| (status, reason))?;
        if key.topics.iter().any(|topic| topic == bundle) { Ok(()) } else { Err((400, "TopicMismatch")) }
    }

    fn enabled(&self, inner: &Inner, bundle: &str) -> Verdict {
        let barred = inner.channels.state().barred.iter().any(|barred| barred == bundle);
        if barred { Err((403, "FeatureNotEnabled")) } else { Ok(()) }
    }

    /// Apple's answer to a request about channels.
    pub(super) fn manage(&self, inner: &Inner, wire: &Wire, (bundle, rest): (&str, &str)) -> Reply {
        let done = self.authenticated(inner, wire, bundle).and_then(|()| self.enabled(inner, bundle)).and_then(|()| {
            match (self.method.as_str(), rest) {
                ("POST", "channels") => self.make(inner, bundle),
                ("GET", "channels") => self.show(inner, bundle),
                ("DELETE", "channels") => self.forget(inner, bundle),
                ("GET", "all-channels") => {
                    let names = inner.channels.names(self.environment(), bundle);
                    Ok(Reply::new(200, None, json!({ "channels": names }).to_string()))
                }
                _ => Err((405, "MethodNotAllowed")),
            }
        });
        let mut reply = done.unwrap_or_else(|(status, reason)| error(status, reason, None));
        reply.request_id = self.header("apns-request-id").map(str::to_owned);
        reply
    }

    fn make(&self, inner: &Inner, bundle: &str) -> Result<Reply, (u16, &'static str)> {
        let Ok(NewChannel { push_type, policy }) = serde_json::from_slice(self.body) else {
            return Err((400, "BadRequestPayload"));
        };
        match push_type.as_deref() {
            None => return Err((400, "MissingPushType")),
            Some("LiveActivity") => {}
            Some(_) => return Err((400, "InvalidPushType")),
        }
        let keeps = match policy.unwrap_or(0) {
            0 => false,
            1 => true,
            _ => return Err((400, "BadRequestParams")),
        };
        let environment = self.environment();
        if inner.channels.names(environment, bundle).len() >= inner.channels.state().most {
            return Err((400, "CannotCreateChannelConfig"));
        }
        let mut bytes = [0_u8; 12];
        SystemRandom::new().fill(&mut bytes).map_err(|_| (500, "InternalServerError"))?;
        let name = STANDARD.encode(bytes);
        inner.channels.state().known.insert((environment, bundle.to_owned(), name.clone()), keeps);
        Ok(Reply { channel_id: Some(name), ..Reply::new(201, None, "") })
    }

    /// Whether the channel that the headers name keeps its latest broadcast.
    fn named(&self, inner: &Inner, bundle: &str) -> Result<(String, bool), (u16, &'static str)> {
        let name = self.header("apns-channel-id").ok_or((400, "MissingChannelId"))?;
        if STANDARD.decode(name).is_err() || name.len() > 128 {
            return Err((400, "BadChannelId"));
        }
        let place = (self.environment(), bundle.to_owned(), name.to_owned());
        let keeps = inner.channels.state().known.get(&place).copied();
        keeps.map(|keeps| (place.2, keeps)).ok_or((404, "ChannelNotRegistered"))
    }

    fn show(&self, inner: &Inner, bundle: &str) -> Result<Reply, (u16, &'static str)> {
        let (_, keeps) = self.named(inner, bundle)?;
        let body = json!({"message-storage-policy": i32::from(keeps), "push-type": "LiveActivity"});
        Ok(Reply::new(200, None, body.to_string()))
    }

    fn forget(&self, inner: &Inner, bundle: &str) -> Result<Reply, (u16, &'static str)> {
        let (name, _) = self.named(inner, bundle)?;
        inner.channels.state().known.remove(&(self.environment(), bundle.to_owned(), name));
        Ok(Reply::new(204, None, ""))
    }

    /// Apple's answer to a broadcast.
    pub(super) fn broadcast(&self, inner: &Inner, wire: &Wire, bundle: &str) -> Reply {
        let judged = self
            .authenticated(inner, wire, bundle)
            .and_then(|()| self.enabled(inner, bundle))
            .and_then(|()| self.well_formed(inner, bundle));
        let mut reply = match judged {
            Ok(()) => Reply::new(200, None, ""),
            Err((status, reason)) => error(status, reason, None),
        };
        reply.request_id = self.header("apns-request-id").map(str::to_owned);
        reply
    }

    fn well_formed(&self, inner: &Inner, bundle: &str) -> Verdict {
        let (_, keeps) = self.named(inner, bundle)?;
        match self.header("apns-push-type") {
            None => return Err((400, "MissingPushType")),
            Some(kind) if kind.eq_ignore_ascii_case("liveactivity") => {}
            Some(_) => return Err((400, "InvalidPushType")),
        }
        if !["1", "5", "10"].contains(&self.header("apns-priority").unwrap_or("10")) {
            return Err((400, "BadPriority"));
        }
        let expiration = self.header("apns-expiration").unwrap_or("0").parse::<u64>();
        if expiration.is_err() || !keeps && expiration.is_ok_and(|at_s| at_s != 0) {
            return Err((400, "BadExpirationDate"));
        }
        if self.body.is_empty() {
            return Err((400, "PayloadEmpty"));
        }
        if self.body.len() > BROADCAST_LIMIT_BYTES {
            return Err((413, "PayloadTooLarge"));
        }
        if is_frame(self.body, &["update", "end"]) { Ok(()) } else { Err((400, "BadRequestPayload")) }
    }

    /// What the ledger keeps of a broadcast.
    pub(super) fn row(&self, at_ms: i64) -> Row {
        let expiration_s = self.header("apns-expiration").and_then(|text| text.parse::<i64>().ok());
        Row {
            n: 0,
            at_ms,
            real_ms: 0,
            gateway: Gateway::Apns,
            token: self.header("apns-channel-id").unwrap_or_default().to_owned(),
            push_id: self.header("apns-request-id").map(str::to_owned),
            collapse_id: None,
            keep_until_ms: expiration_s.map(|s| if s == 0 { at_ms } else { s * 1_000 }),
            kairos: None,
            text: None,
            sealed: None,
            aps: aps(self.body).map(Value::Object),
            priority: self.header("apns-priority").map(str::to_owned),
            answer: String::new(),
            delivered: false,
        }
    }
}

/// The `aps` of a payload.
pub(super) fn aps(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice::<Value>(body).ok()?.get_mut("aps")?.take() {
        Value::Object(aps) => Some(aps),
        _ => None,
    }
}

/// Whether a body is a frame of a Live Activity with one of these events: a phone drops any other without a word.
pub(super) fn is_frame(body: &[u8], events: &[&str]) -> bool {
    let Some(aps) = aps(body) else { return false };
    let text = |key: &str| aps.get(key).and_then(Value::as_str);
    let number = |key: &str| aps.get(key).is_some_and(Value::is_i64);
    let object = |key: &str| aps.get(key).is_some_and(Value::is_object);
    let Some(event) = text("event").filter(|event| events.contains(event)) else { return false };
    let dates = ["stale-date", "dismissal-date"].iter().all(|key| !aps.contains_key(*key) || number(key));
    let started = text("attributes-type").is_some_and(|name| !name.is_empty()) && object("attributes") && object("alert");
    number("timestamp") && object("content-state") && dates && (event != "start" || started)
}

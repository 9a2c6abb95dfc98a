//! A browser's side and its push service's: subscriptions, what a push must look like, and what the browser reads of it.

use super::keyring::{HEADER_BYTES, Keyring};
use super::keys::parts;
use super::ledger::{Row, Stamped};
use super::phones::{Phone, Standing};
use super::{Inner, Reply};
use crate::error::{Error, Result};
use crate::push::webpush::{BODY_LIMIT_BYTES, Errno};
use crate::push::{Environment, Gateway};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Where all endpoints of the stand-in begin, behind the host.
pub(super) const PATH: &str = "/wpush/";
const DAY_S: i64 = 86_400;

/// A browser that has subscribed.
#[derive(Clone)]
struct Browser {
    keyring: Keyring,
    /// The key that the page has subscribed with; none: it takes any.
    made_with: Option<String>,
}

/// All browsers, by endpoint.
#[derive(Default)]
pub(super) struct Browsers(RwLock<HashMap<String, Browser>>);

/// A refusal in Mozilla's shape, or, when the reason is a word, in Apple's.
pub(super) fn error(status: u16, reason: &str) -> Reply {
    let body = match reason.parse::<i64>() {
        Ok(errno) => json!({"code": status, "errno": errno, "error": "refused", "message": "as asked for"}),
        Err(_) if reason.is_empty() => return Reply::new(status, None, ""),
        Err(_) => json!({ "reason": reason }),
    };
    Reply::new(status, Some(reason.to_owned()), body.to_string())
}

fn refused(status: u16, errno: Errno) -> Box<Reply> {
    Box::new(error(status, &errno.number().to_string()))
}

/// A page subscribes at this push service, with this key of the app's; what the browser hands to the page.
pub(super) fn subscribe(inner: &Inner, host: &str, made_with: Option<String>) -> Result<Value> {
    let mut name = [0; 24];
    SystemRandom::new().fill(&mut name).map_err(Error::broken)?;
    let keyring = Keyring::make()?;
    let keys = keyring.shared();
    let endpoint = format!("https://{host}{PATH}{}", URL_SAFE_NO_PAD.encode(name));
    let phone = Phone { gateway: Gateway::WebPush, environment: Environment::Production, topic: None, dead_ms: None };
    inner.phones.put(endpoint.clone(), phone);
    let browser = Browser { keyring, made_with };
    inner.browsers.0.write().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone(), browser);
    Ok(json!({"endpoint": endpoint, "expirationTime": null, "keys": keys}))
}

/// A push as it arrived.
pub(super) struct Arrived<'a> {
    endpoint: String,
    origin: String,
    headers: &'a HeaderMap,
    body: &'a [u8],
    browser: Option<Browser>,
    /// What the browser reads; none when it cannot.
    plain: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
    sub: String,
}

impl<'a> Arrived<'a> {
    pub(super) fn new(inner: &Inner, head: &'a http::request::Parts, body: &'a [u8]) -> Self {
        let authority = head.uri.authority().map_or("", http::uri::Authority::as_str);
        let origin = format!("https://{authority}");
        let endpoint = format!("{origin}{}", head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str));
        let browser = inner.browsers.0.read().unwrap_or_else(PoisonError::into_inner).get(&endpoint).cloned();
        let plain = browser.as_ref().and_then(|browser| browser.keyring.read(body));
        Self { endpoint, origin, headers: &head.headers, body, browser, plain }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    fn ttl_s(&self) -> Option<i64> {
        self.header("ttl").filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    }

    /// Whether it has no body, which RFC 8030 lets a push have: the browser is woken, and there is nothing to decrypt.
    fn is_tickle(&self) -> bool {
        self.body.is_empty() && self.header("content-encoding").is_none()
    }

    /// Where the message is to be found (RFC 8030, section 5): each at a place of its own.
    fn resource(&self) -> Option<String> {
        let mut name = [0; 24];
        SystemRandom::new().fill(&mut name).ok()?;
        Some(format!("{}/m/{}", self.origin, URL_SAFE_NO_PAD.encode(name)))
    }

    /// The push service's answer.
    pub(super) fn judge(&self, inner: &Inner) -> Reply {
        let result = self
            .well_formed()
            .and_then(|()| self.authenticated(inner.clock.now_ms().div_euclid(1_000)))
            .and_then(|key| self.deliverable(inner, &key));
        // The service cannot know what nobody can decrypt: it is the browser that throws it away.
        let undecryptable = self.plain.is_none() && !self.is_tickle();
        match result {
            Err(reply) => *reply,
            Ok(()) => {
                Reply { location: self.resource(), ..Reply::new(201, undecryptable.then(|| "undecryptable".to_owned()), "") }
            }
        }
    }

    fn well_formed(&self) -> Result<(), Box<Reply>> {
        if self.headers.keys().any(|name| self.headers.get_all(name).iter().nth(1).is_some()) {
            return Err(Box::new(error(400, "duplicate headers")));
        }
        if self.header("ttl").is_none() {
            return Err(refused(400, Errno::MissingHeader));
        }
        if self.ttl_s().is_none() {
            return Err(refused(400, Errno::InvalidTtl));
        }
        let base64url = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if self.header("topic").is_some_and(|topic| topic.is_empty() || topic.len() > 32 || !base64url(topic)) {
            return Err(refused(400, Errno::InvalidTopic));
        }
        if self.header("urgency").is_some_and(|urgency| !["very-low", "low", "normal", "high"].contains(&urgency)) {
            return Err(Box::new(error(400, "urgency")));
        }
        if self.body.len() > BODY_LIMIT_BYTES {
            return Err(refused(413, Errno::TooLarge));
        }
        if self.is_tickle() {
            return Ok(());
        }
        let coding = self.header("content-encoding") == Some("aes128gcm");
        let record_bytes = self.body.get(16..20).map(|size| size.iter().fold(0_usize, |n, byte| n << 8 | usize::from(*byte)));
        let one_record = record_bytes.is_some_and(|size| size >= self.body.len().saturating_sub(HEADER_BYTES));
        if !coding || self.body.get(20) != Some(&65) || !one_record {
            return Err(refused(400, Errno::InvalidKeys));
        }
        Ok(())
    }

    /// The key that the push is signed with.
    fn authenticated(&self, now_s: i64) -> Result<String, Box<Reply>> {
        let wrong = || refused(401, Errno::InvalidAuthentication);
        let text = self.header("authorization").and_then(|text| text.strip_prefix("vapid ")).ok_or_else(wrong)?;
        let field = |name: &str| text.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        let (token, key) = field("t").zip(field("k")).ok_or_else(wrong)?;
        let point = URL_SAFE_NO_PAD.decode(key).map_err(|_| wrong())?;
        let (header, claims, signed, signature) = parts::<Claims>(token).ok_or_else(wrong)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(signed.as_bytes(), &signature).map_err(|_| wrong())?;
        let contact = claims.sub.starts_with("mailto:") || claims.sub.starts_with("https://");
        let timely = claims.exp > now_s && claims.exp <= now_s + DAY_S;
        if header.is_es256() && contact && timely && claims.aud == self.origin { Ok(key.to_owned()) } else { Err(wrong()) }
    }

    fn deliverable(&self, inner: &Inner, key: &str) -> Result<(), Box<Reply>> {
        match inner.phones.standing(&self.endpoint, Gateway::WebPush, Environment::Production, "") {
            Standing::Live => {}
            Standing::Dead(_) => return Err(refused(410, Errno::InvalidSubscription)),
            Standing::Unheard | Standing::Elsewhere | Standing::OtherApp => return Err(refused(404, Errno::InvalidEndpoint)),
        }
        let made_with = self.browser.as_ref().and_then(|browser| browser.made_with.as_deref());
        if made_with.is_some_and(|made_with| made_with != key) {
            return Err(Box::new(error(403, "VapidPkHashMismatch")));
        }
        Ok(())
    }

    /// What the ledger keeps of it; the answer is filled in later.
    pub(super) fn row(&self, at_ms: i64) -> Row {
        #[derive(Deserialize)]
        struct Plain {
            body: Option<String>,
            kairos: Option<Stamped>,
        }
        let plain: Option<Plain> = self.plain.as_deref().and_then(|plain| serde_json::from_slice(plain).ok());
        let (text, kairos) = plain.map_or((None, None), |plain| (plain.body, plain.kairos));
        Row {
            n: 0,
            at_ms,
            real_ms: 0,
            gateway: Gateway::WebPush,
            token: self.endpoint.clone(),
            push_id: kairos.as_ref().map(|stamp| stamp.message_id.clone()),
            collapse_id: self.header("topic").map(str::to_owned),
            keep_until_ms: self.ttl_s().map(|s| at_ms + s * 1_000),
            kairos,
            text,
            sealed: None,
            aps: None,
            priority: None,
            answer: String::new(),
            delivered: false,
        }
    }
}

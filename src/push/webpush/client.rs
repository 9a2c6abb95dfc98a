//! One push as a request to a browser's push service.

use super::encrypt::{Fresh, PLAINTEXT_LIMIT_BYTES, Recipient, encrypt, padding};
use super::payload::urgency;
use super::vapid::{KeyPair, Keys, chosen};
use super::verdict::{Judged, judge};
use crate::id::UserId;
use crate::outbound::{Answer, Outgoing};
use crate::people::device::web::Address;
use crate::push::{Push, Verdict};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// Longest time to live, in seconds: four weeks, which every push service takes.
const TTL_LIMIT_S: i64 = 2_419_200;
/// The longest plaintext that Mozilla passes on to Firefox on every Android, where a body has 2,744 bytes. What is shorter
/// must not be padded beyond it; what is longer reaches all other browsers, and there ends as its push service says.
const EVERYWHERE_BYTES: usize = 2_641;
/// Subscriptions of so many users in a row, each refused for its key, are no longer a matter of theirs.
const REFUSALS_MAX: usize = 3;

/// Speaks for one app to one push service.
pub struct Client {
    keys: Vec<KeyPair>,
    subject: String,
    /// Scheme and host, as tokens name it.
    origin: String,
    /// Whose subscriptions were refused for their key since a push was taken.
    refused: Mutex<BTreeSet<UserId>>,
}

/// The body of a push, encrypted, and what it says in its head.
pub struct Sealed {
    uri: Uri,
    topic: HeaderValue,
    body: Bytes,
    key: usize,
}

impl Client {
    /// A client for the push service at this host, or host and port.
    ///
    /// # Errors
    /// When a stored key is none.
    pub fn new(keys: &Keys, authority: &str) -> Result<Self, &'static str> {
        let origin = format!("https://{authority}");
        Ok(Self { keys: keys.pairs()?, subject: keys.subject.clone(), origin, refused: Mutex::default() })
    }

    /// Encrypts a push: before the last check, because it takes long.
    ///
    /// # Errors
    /// The reason why it can never be sent.
    pub fn seal(&self, push: &Push, fresh: &Fresh, now_ms: i64) -> Result<Sealed, &'static str> {
        let address = Address::parse(&push.token).ok_or("malformed_token")?;
        if address.expires_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Err("subscription_ended");
        }
        let key = chosen(&self.keys, address.made).ok_or("unknown_vapid_key")?;
        let key = self.keys.iter().position(|pair| std::ptr::eq(pair, key)).ok_or("unknown_vapid_key")?;
        // The endpoint is opaque: it is used as it was given, and only for the service that this lane leads to.
        let path = address.endpoint.strip_prefix(self.origin.as_str()).filter(|path| path.starts_with('/'));
        path.ok_or("malformed_token")?;
        let uri = Uri::try_from(address.endpoint).map_err(|_| "malformed_token")?;
        let plain = &push.payload;
        let to = Recipient { p256dh: address.p256dh, auth: address.auth };
        let limit_bytes = if plain.len() > EVERYWHERE_BYTES { PLAINTEXT_LIMIT_BYTES } else { EVERYWHERE_BYTES };
        let body = encrypt(&to, plain, padding(plain.len(), limit_bytes), fresh)?;
        Ok(Sealed { uri, topic: topic(&push.collapse_id)?, body, key })
    }

    /// The request for a push, as it has to look now; `None` when less than a second is left of it.
    ///
    /// # Errors
    /// The reason why it can never be sent.
    pub fn request(&self, push: &Push, sealed: Sealed, now_ms: i64) -> Result<Option<(Outgoing, HeaderValue)>, &'static str> {
        // Rounded down, so that the service never keeps it longer than we may. None at all would still show it now, but
        // not only now: services take it as a wish.
        let ttl_s = (push.deadline_ms - now_ms).div_euclid(1_000).min(TTL_LIMIT_S);
        if ttl_s <= 0 {
            return Ok(None);
        }
        let key = self.keys.get(sealed.key).ok_or("unknown_vapid_key")?;
        let bearer = key.bearer((&self.origin, &self.subject), now_ms)?;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = sealed.uri;
        *head.version_mut() = Version::HTTP_2;
        let headers = head.headers_mut();
        headers.reserve(6);
        headers.insert(AUTHORIZATION, bearer.clone());
        headers.insert(TTL, HeaderValue::from(ttl_s));
        headers.insert(URGENCY, HeaderValue::from_static(urgency(push.head.as_deref())));
        headers.insert(TOPIC, sealed.topic);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        Ok(Some((Outgoing { head, body: sealed.body }, bearer)))
    }

    /// What became of a push, and what follows from it for the pushes after it: `user` is whose the subscription is, `first` whether it is the message's first attempt,
    /// `bearer` what was shown.
    pub fn heard(
        &self,
        answer: &Answer,
        ((user, first), bearer): ((UserId, bool), &HeaderValue),
        times_ms: (i64, i64),
    ) -> Verdict {
        let (handed_over_ms, now_ms) = times_ms;
        match judge(answer, handed_over_ms, now_ms) {
            Judged { verdict: Verdict::Accepted, .. } => {
                self.proven(bearer);
                Verdict::Accepted
            }
            // Mozilla says the same of a bad token: another one is worth a try.
            Judged { verdict: Verdict::Renew(reason), other_key: true } if first && self.renew(bearer) => Verdict::Renew(reason),
            Judged { verdict: Verdict::Rejected(reason) | Verdict::Renew(reason), other_key: true } => {
                if self.refused(user) {
                    Verdict::Misconfigured(reason)
                } else {
                    Verdict::Rejected(reason)
                }
            }
            Judged { verdict, .. } => verdict,
        }
    }

    fn proven(&self, bearer: &HeaderValue) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.keys.iter().for_each(|key| key.proven(bearer));
    }

    /// Makes a new token because this one was refused, once. False: a new one was refused as well.
    pub fn renew(&self, bearer: &HeaderValue) -> bool {
        // Whoever showed one that is gone by now only has to try again.
        self.keys.iter().find_map(|key| key.discard(bearer)).unwrap_or(true)
    }

    /// Notes that a user's subscription was refused for its key. True: so were others' before, with none taken in between,
    /// so it is our key that is at fault and not theirs.
    fn refused(&self, user: UserId) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < REFUSALS_MAX {
            refused.insert(user);
        }
        refused.len() >= REFUSALS_MAX
    }
}

/// By which a push service lets a push take the place of one that waits: 32 characters that say nothing.
fn topic(collapse_id: &str) -> Result<HeaderValue, &'static str> {
    let hash = ring::digest::digest(&ring::digest::SHA256, collapse_id.as_bytes());
    let text = URL_SAFE_NO_PAD.encode(hash.as_ref().get(..24).unwrap_or_default());
    HeaderValue::from_str(&text).map_err(|_| "malformed_collapse_id")
}

//! Who we are to push services (VAPID, RFC 8292): an app's key pairs, and the tokens signed with them.
//!
//! A subscription takes only pushes that are signed by the key that it was made with, so a key that was replaced is kept
//! for those made before. A token is good for one push service; the lane to it keeps the one in hand.

use crate::clock::{self, DAY_MS, HOUR_MS};
use crate::id::Ids;
use crate::people::device::web::{MadeWith, POINT_BYTES, key_id};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::DecodePrivateKey as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a token is good: push services take a day at most.
const LIFE_MS: i64 = 12 * HOUR_MS;
/// A new one is made when this much of it is over.
const RENEW_MS: i64 = 6 * HOUR_MS;
/// Most keys of an app: the present one, and those of subscriptions that were made before. The oldest goes first.
pub const KEYS_MAX: usize = 10;
/// Longest contact, in characters.
const SUBJECT_LIMIT: usize = 255;

/// An app's keys as they are kept, sealed: the present one first.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keys {
    /// Whom a push service may write to: `mailto:` or `https://`.
    pub subject: String,
    keys: Vec<Kept>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    private: String,
    /// Since when it is the present one, UTC milliseconds.
    since_ms: i64,
    /// Whether it was made in another one's place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rotated: bool,
}

/// A key pair that is ready to sign.
pub struct KeyPair {
    since_ms: i64,
    /// The public key in base64url, as pages and push services want it.
    pub public_key: String,
    /// By which subscriptions know it.
    pub id: String,
    pair: EcdsaKeyPair,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    header: Option<HeaderValue>,
    made_ms: i64,
    /// Whether a token was refused since the last one that was taken.
    forced: bool,
}

impl Keys {
    /// Keys with this one as the present; `before` are those that there were.
    ///
    /// # Errors
    /// The field at fault and what is wrong with it.
    pub fn new(
        subject: String,
        private: &SecretKey,
        before: Option<Self>,
        now_ms: i64,
    ) -> Result<Self, (&'static str, &'static str)> {
        check_subject(&subject).map_err(|why| ("subject", why))?;
        let private = URL_SAFE_NO_PAD.encode(private.to_bytes());
        let mut keys = before.map_or_else(Vec::new, |before| before.keys);
        if keys.first().is_none_or(|present| present.private != private) {
            // A key that comes back stands twice: those who subscribed under it before know it by that time.
            keys.insert(0, Kept { private, since_ms: now_ms, rotated: false });
            keys.truncate(KEYS_MAX);
        }
        Ok(Self { subject, keys })
    }

    /// The same keys with another contact.
    ///
    /// # Errors
    /// The field at fault and what is wrong with it.
    pub fn with_subject(self, subject: String) -> Result<Self, (&'static str, &'static str)> {
        check_subject(&subject).map_err(|why| ("subject", why))?;
        Ok(Self { subject, ..self })
    }

    /// The same keys, the present one of which was made in another one's place.
    #[must_use]
    pub fn rotated(mut self) -> Self {
        self.keys.first_mut().into_iter().for_each(|present| present.rotated = true);
        self
    }

    /// Whether the present one was made in another one's place in the last so many milliseconds.
    pub fn rotated_within(&self, within_ms: i64, now_ms: i64) -> bool {
        let present = self.keys.first().filter(|present| present.rotated);
        present.is_some_and(|present| clock::is_ahead(present.since_ms + within_ms, now_ms, within_ms))
    }

    /// The pairs, the present one first.
    ///
    /// # Errors
    /// When a key that was kept is none.
    pub fn pairs(&self) -> Result<Vec<KeyPair>, &'static str> {
        self.keys.iter().map(|kept| KeyPair::of(&read(&kept.private)?, kept.since_ms)).collect()
    }

    /// Signs with each of them, for nobody.
    ///
    /// # Errors
    /// When one cannot sign, or there is none.
    pub fn try_all(&self, now_ms: i64) -> Result<(), &'static str> {
        let pairs = self.pairs()?;
        if pairs.is_empty() {
            return Err("there is no key");
        }
        pairs.iter().try_for_each(|pair| pair.bearer(("https://push.example.com", &self.subject), now_ms).map(drop))
    }
}

fn check_subject(subject: &str) -> Result<(), &'static str> {
    const WRONG: &str = "expected whom a push service may write to: mailto:ops@example.com or https://example.com/contact";
    let plain = subject.len() <= SUBJECT_LIMIT && subject.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    let mail = subject
        .strip_prefix("mailto:")
        .is_some_and(|address| address.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.')));
    // Apple refuses every push of those who name their own machine.
    let page = subject.strip_prefix("https://").is_some_and(|rest| rest.contains('.') && !rest.starts_with("localhost"));
    if plain && (mail || page) { Ok(()) } else { Err(WRONG) }
}

/// Makes a private key.
pub fn make(ids: &Ids) -> SecretKey {
    loop {
        // One in four thousand million draws is no key of this curve.
        if let Ok(key) = SecretKey::from_slice(&ids.bytes::<32>()) {
            return key;
        }
    }
}

/// Reads a private key: 32 bytes in base64url, as most tools for web push keep them, or PEM.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str) -> Result<SecretKey, &'static str> {
    const WRONG: &str = "expected a private key on the curve P-256: 32 bytes in base64url, or PEM";
    let text = text.trim();
    if text.starts_with("-----BEGIN") {
        return SecretKey::from_pkcs8_pem(text).or_else(|_| SecretKey::from_sec1_pem(text)).map_err(|_| WRONG);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).or_else(|_| STANDARD.decode(text)).map_err(|_| WRONG)?;
    if bytes.len() == 32 { SecretKey::from_slice(&bytes).map_err(|_| WRONG) } else { Err(WRONG) }
}

impl KeyPair {
    fn of(private: &SecretKey, since_ms: i64) -> Result<Self, &'static str> {
        let point = private.public_key().to_sec1_point(false);
        let point: &[u8] = point.as_bytes();
        debug_assert_eq!(point.len(), POINT_BYTES);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &private.to_bytes(),
            point,
            &SystemRandom::new(),
        );
        let pair = pair.map_err(|_| "a stored key is none")?;
        Ok(Self { since_ms, public_key: URL_SAFE_NO_PAD.encode(point), id: key_id(point), pair, state: Mutex::default() })
    }

    /// The `authorization` header to send now to the push service at `origin`, always the same one.
    ///
    /// # Errors
    /// When no token can be signed.
    pub fn bearer(&self, (origin, subject): (&str, &str), now_ms: i64) -> Result<HeaderValue, &'static str> {
        let mut state = self.state();
        // A step back of the clock would leave a token that ends too late.
        let fresh = now_ms >= state.made_ms && now_ms < state.made_ms + RENEW_MS;
        match &state.header {
            Some(header) if fresh => Ok(header.clone()),
            _ => {
                let header = self.sign((origin, subject), now_ms)?;
                *state = State { header: Some(header.clone()), made_ms: now_ms, forced: state.forced };
                Ok(header)
            }
        }
    }

    /// Throws a token away that was refused, once; `None` when it is another key's. `Some(false)`: a new one was refused
    /// as well.
    pub fn discard(&self, refused: &HeaderValue) -> Option<bool> {
        let mut state = self.state();
        if state.header.as_ref() != Some(refused) {
            return None;
        }
        let first = !state.forced;
        // The next one is made by whoever needs it.
        *state = State { header: None, made_ms: 0, forced: true };
        Some(first)
    }

    /// A request with this token was taken.
    pub fn proven(&self, shown: &HeaderValue) {
        let mut state = self.state();
        if state.header.as_ref() == Some(shown) {
            state.forced = false;
        }
    }

    fn sign(&self, (origin, subject): (&str, &str), now_ms: i64) -> Result<HeaderValue, &'static str> {
        let exp_s = (now_ms + LIFE_MS.min(DAY_MS)).div_euclid(1_000);
        let claims = format!(r#"{{"aud":"{origin}","exp":{exp_s},"sub":"{subject}"}}"#);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256"}"#), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| "cannot_sign")?;
        let token = URL_SAFE_NO_PAD.encode(signature.as_ref());
        let mut header =
            HeaderValue::from_str(&format!("vapid t={signed}.{token}, k={}", self.public_key)).map_err(|_| "cannot_sign")?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pair that a subscription was made with: the one that it names, or the one that was the present then; of a time
/// before the first, the first.
pub fn chosen<'k>(pairs: &'k [KeyPair], made: MadeWith<'_>) -> Option<&'k KeyPair> {
    match made {
        MadeWith::Key(id) => pairs.iter().find(|pair| pair.id == id),
        MadeWith::Since(at_ms) => pairs.iter().find(|pair| pair.since_ms <= at_ms).or_else(|| pairs.last()),
    }
}

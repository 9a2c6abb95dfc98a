//! The provider token: an ES256 JWT, the same on every node, made anew every 40 minutes.
//!
//! Apple takes a token for 60 minutes and answers 429 when it sees new ones more often than every 20. So there is one
//! token per (team, key, environment) at a time, for all apps, all lanes and all nodes. Nodes need not ask each other for
//! it: its time is a multiple of 40 minutes and its signature is deterministic (RFC 6979), so whoever makes it, also after
//! a restart, also while Redis is away, makes the same bytes. Apple sees one token, renewed every 40 minutes.
//!
//! Two clocks a little apart show the old and the new token side by side for as long as they are apart: two tokens, once
//! in 40 minutes. A minute of grace keeps a clock that goes fast from showing a token from the future.
//!
//! Within a process the token is shared by all lanes of the key ([`ProviderTokens`]) and made under a lock: who comes
//! while it is being made gets that one.

use crate::clock::{self, MINUTE_MS};
use crate::push::Environment;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Tokens are of times that are multiples of this.
const LIFE_MS: i64 = 40 * MINUTE_MS;
/// How far a clock may be ahead of Apple's.
const GRACE_MS: i64 = MINUTE_MS;
/// Apple wants this much between two tokens.
const APART_MS: i64 = 20 * MINUTE_MS;
/// A token that was made out of turn is replaced at this age at the latest.
const OLD_MS: i64 = 45 * MINUTE_MS;
/// Tokens out of turn are of times that are multiples of this, so that nodes that were refused together make the same.
const FLOOR_MS: i64 = 5 * MINUTE_MS;
/// How long no new token is made after Apple said that we make too many.
const HOLD_MS: i64 = 20 * MINUTE_MS;

/// A team's signing key.
pub struct ProviderKey {
    team_id: String,
    key_id: String,
    pair: SigningKey,
}

impl ProviderKey {
    /// Reads a `.p8` file (PKCS#8, EC P-256, PEM).
    ///
    /// # Errors
    /// The field at fault and what is wrong with it.
    pub fn parse(team_id: &str, key_id: &str, pem: &str) -> Result<Self, (&'static str, &'static str)> {
        for (field, id) in [("team_id", team_id), ("key_id", key_id)] {
            if id.len() != 10 || !id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
                return Err((field, "expected the 10 capital letters and digits that Apple shows"));
            }
        }
        // Lines of any width: keys are often pasted from JSON or an environment as one.
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| ("key_p8", what_else(pem)))?;
        let pair = SigningKey::from_pkcs8_der(der.secret_pkcs8_der()).map_err(|_| ("key_p8", what_else(pem)))?;
        Ok(Self { team_id: team_id.to_owned(), key_id: key_id.to_owned(), pair })
    }

    /// A token issued at this second; the same for whoever has this key.
    ///
    /// # Errors
    /// Never in practice.
    pub fn sign(&self, iat_s: i64) -> Result<String, p256::ecdsa::Error> {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{iat_s}}}"#, self.team_id);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature: Signature = self.pair.try_sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
    }
}

/// What a text is that is not a key of this kind, as far as that helps.
fn what_else(pem: &str) -> &'static str {
    if !pem.contains("-----BEGIN") {
        "expected the whole text of the .p8 file, with its lines BEGIN PRIVATE KEY and END PRIVATE KEY"
    } else if pem.contains("BEGIN CERTIFICATE") || pem.contains("BEGIN RSA") {
        "this is not a .p8 file: make a key under Certificates, Identifiers & Profiles > Keys, with APNs switched on"
    } else {
        "expected the .p8 file's text: a PKCS#8 private key on the curve P-256"
    }
}

/// The token in hand.
pub struct ProviderToken {
    key: ProviderKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    header: Option<HeaderValue>,
    iat_ms: i64,
    hold_until_ms: i64,
    /// Whether this token was made because its forerunner was refused: refused again, the fault is not its age.
    forced: bool,
    minted: usize,
}

impl State {
    /// The time that the token to show now should be of.
    fn wanted_ms(&self, now_ms: i64) -> i64 {
        let turn_ms = floor(now_ms - GRACE_MS, LIFE_MS);
        let held_ms = self.iat_ms;
        // A step back of the clock would leave a token from the future.
        if self.header.is_none() || held_ms > now_ms || turn_ms - held_ms >= APART_MS {
            turn_ms
        } else if now_ms - held_ms >= OLD_MS {
            floor(now_ms - GRACE_MS, FLOOR_MS)
        } else {
            held_ms
        }
    }
}

fn floor(ms: i64, step_ms: i64) -> i64 {
    ms - ms.rem_euclid(step_ms)
}

impl ProviderToken {
    /// No token yet: the first call of [`ProviderToken::bearer`] makes one.
    pub fn new(key: ProviderKey) -> Self {
        Self { key, state: Mutex::default() }
    }

    /// The `authorization` header to send now.
    ///
    /// # Errors
    /// When no token can be signed.
    pub fn bearer(&self, now_ms: i64) -> Result<HeaderValue, &'static str> {
        let mut state = self.state();
        let wanted_ms = state.wanted_ms(now_ms);
        let holds = clock::is_ahead(state.hold_until_ms, now_ms, HOLD_MS);
        match &state.header {
            Some(header) if holds || wanted_ms == state.iat_ms => Ok(header.clone()),
            _ => self.mint(&mut state, wanted_ms),
        }
    }

    /// Makes a new token because this one was refused as expired, once. False: a new one would not help.
    pub fn renew(&self, refused: &HeaderValue, now_ms: i64) -> bool {
        let mut state = self.state();
        if state.header.as_ref().is_some_and(|held| held != refused) {
            return true;
        }
        let iat_ms = floor(now_ms, FLOOR_MS);
        let helps = iat_ms != state.iat_ms && !state.forced && !clock::is_ahead(state.hold_until_ms, now_ms, HOLD_MS);
        if !helps || self.mint(&mut state, iat_ms).is_err() {
            return false;
        }
        state.forced = true;
        true
    }

    /// Apple says that tokens are made too often (somebody else signs with this key): none is made for a while.
    pub fn hold(&self, now_ms: i64) {
        self.state().hold_until_ms = now_ms + HOLD_MS;
    }

    /// A request with this token was taken.
    pub fn proven(&self) {
        self.state().forced = false;
    }

    /// How many tokens this process has made with the key.
    pub fn minted(&self) -> usize {
        self.state().minted
    }

    fn mint(&self, state: &mut State, iat_ms: i64) -> Result<HeaderValue, &'static str> {
        let token = self.key.sign(iat_ms.div_euclid(1_000)).map_err(|_| "cannot sign")?;
        let mut header = HeaderValue::from_str(&format!("bearer {token}")).map_err(|_| "cannot sign")?;
        header.set_sensitive(true);
        state.header = Some(header.clone());
        (state.iat_ms, state.forced) = (iat_ms, false);
        state.minted += 1;
        Ok(header)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes two keys one: the ids, the world, and the key itself. Without the last, an app that stores a wrong key under
/// another app's ids would break that app's token.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    team_id: String,
    key_id: String,
    environment: Environment,
    public_key: Vec<u8>,
}

/// The provider tokens of this process: one per (team, key, environment), for all apps and lanes that use that key.
///
/// Only the token is shared. Connections are not: each app has its own, per key. A connection to Apple is bound to one
/// team and to the bundle ids of its first pushes, so two apps of different bundle ids could share one only by luck; and
/// an app's connections are its bulkhead, where its slow answers, its refused topics and its full streams stay its own.
/// What sharing would save is a handshake per app and key, once in hours.
#[derive(Default)]
pub struct ProviderTokens(Mutex<HashMap<Identity, Weak<ProviderToken>>>);

impl ProviderTokens {
    /// The token of this key; made when nobody has it, gone with the last who has it.
    pub fn of(&self, key: ProviderKey, environment: Environment) -> Arc<ProviderToken> {
        let identity = Identity {
            team_id: key.team_id.clone(),
            key_id: key.key_id.clone(),
            environment,
            public_key: key.pair.verifying_key().to_sec1_bytes().to_vec(),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, token| token.strong_count() > 0);
        if let Some(token) = known.get(&identity).and_then(Weak::upgrade) {
            return token;
        }
        let token = Arc::new(ProviderToken::new(key));
        known.insert(identity, Arc::downgrade(&token));
        token
    }
}

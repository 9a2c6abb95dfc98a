//! The provider token: an ES256 JWT that is re-made every 40 to 50 minutes, by one caller at a time.
//!
//! Apple takes a token for 60 minutes and refuses one that is renewed within 20. Its time is floored to 5 minutes, so
//! that processes that share a key make tokens of the same age.

use crate::clock::{self, MINUTE_MS};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

const LIFE_MS: i64 = 40 * MINUTE_MS;
const LIFE_SPREAD_MS: i64 = 10 * MINUTE_MS;
const FLOOR_MS: i64 = 5 * MINUTE_MS;
/// How long no new token is made after Apple said that we make too many.
const HOLD_MS: i64 = 20 * MINUTE_MS;

/// A team's signing key.
pub struct ProviderKey {
    team_id: String,
    key_id: String,
    pair: EcdsaKeyPair,
    random: SystemRandom,
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
    renew_ms: i64,
    hold_until_ms: i64,
    /// Whether this token was made because its forerunner was refused: refused again, the fault is not its age.
    forced: bool,
}

impl ProviderKey {
    /// Reads a `.p8` file (PKCS#8, EC P-256, PEM).
    ///
    /// # Errors
    /// The field at fault and what is wrong with it.
    pub fn parse(team_id: &str, key_id: &str, pem: &str) -> Result<Self, (&'static str, &'static str)> {
        for (field, id) in [("team_id", team_id), ("key_id", key_id)] {
            if id.len() != 10 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err((field, "expected the 10 letters and digits that Apple shows"));
            }
        }
        const WRONG: (&str, &str) = ("key_p8", "expected the .p8 file's text: a PKCS#8 private key on the curve P-256");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| WRONG)?;
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random).map_err(|_| WRONG)?;
        Ok(Self { team_id: team_id.to_owned(), key_id: key_id.to_owned(), pair, random })
    }

    /// A token issued at this second.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn sign(&self, iat_s: i64) -> Result<String, ring::error::Unspecified> {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
        let claims = format!(r#"{{"iss":"{}","iat":{iat_s}}}"#, self.team_id);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
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
        // A step back of the clock would leave a token from the future.
        let fresh = now_ms >= state.iat_ms && now_ms < state.renew_ms || clock::is_ahead(state.hold_until_ms, now_ms, HOLD_MS);
        match &state.header {
            Some(header) if fresh => Ok(header.clone()),
            _ => self.mint(&mut state, now_ms - now_ms.rem_euclid(FLOOR_MS), now_ms),
        }
    }

    /// Makes a new token because this one was refused as expired, once. False: a new one would not help.
    pub fn renew(&self, refused: &HeaderValue, now_ms: i64) -> bool {
        let mut state = self.state();
        if state.header.as_ref().is_some_and(|held| held != refused) {
            return true;
        }
        if state.forced || clock::is_ahead(state.hold_until_ms, now_ms, HOLD_MS) || self.mint(&mut state, now_ms, now_ms).is_err()
        {
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

    fn mint(&self, state: &mut State, iat_ms: i64, now_ms: i64) -> Result<HeaderValue, &'static str> {
        let token = self.key.sign(iat_ms.div_euclid(1_000)).map_err(|_| "cannot sign")?;
        let mut header = HeaderValue::from_str(&format!("bearer {token}")).map_err(|_| "cannot sign")?;
        header.set_sensitive(true);
        let mut whim = [0; 2];
        self.key.random.fill(&mut whim).map_err(|_| "no randomness")?;
        let spread_ms = i64::from(u16::from_le_bytes(whim)) * LIFE_SPREAD_MS / i64::from(u16::MAX);
        let hold_until_ms = state.hold_until_ms;
        let renew_ms = (iat_ms + LIFE_MS + spread_ms).max(now_ms + MINUTE_MS);
        *state = State { header: Some(header.clone()), iat_ms, renew_ms, hold_until_ms, forced: false };
        Ok(header)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

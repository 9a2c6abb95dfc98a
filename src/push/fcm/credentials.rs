//! The access token: bought with an RS256 assertion of the service account, shared by all, renewed by one caller.

use crate::clock::{self, Clock, MINUTE_MS};
use crate::outbound::{Loss, Outgoing, Pool};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Uri, Version};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// A token is renewed this long before its end, and used until shortly before it.
const RENEW_BEFORE_MS: i64 = 5 * MINUTE_MS;
const UNUSED_BEFORE_MS: i64 = MINUTE_MS;
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an exchange that failed; it doubles this often.
const PAUSE_MS: i64 = 1_000;
const DOUBLINGS: u32 = 6;

/// The key file of a service account, as Google hands it out.
#[derive(Clone, Deserialize)]
struct KeyFile {
    project_id: String,
    #[serde(default)]
    private_key_id: String,
    private_key: String,
    client_email: String,
    token_uri: String,
}

/// A service account that may send for one project.
pub struct ServiceAccount {
    /// The Firebase project.
    pub project_id: String,
    /// Its address at Google.
    pub client_email: String,
    /// Where assertions are exchanged.
    pub token_uri: Uri,
    private_key_id: String,
    pair: RsaKeyPair,
}

impl ServiceAccount {
    /// Reads the key file's JSON.
    ///
    /// # Errors
    /// The field at fault and what is wrong with it.
    pub fn parse(json: &serde_json::Value) -> Result<Self, (&'static str, String)> {
        if json.get("project_info").is_some() {
            let why = "this is the app's google-services.json; make a key under Project settings > Service accounts".to_owned();
            return Err(("service_account", why));
        }
        if json.get("type").is_some_and(|kind| kind != "service_account") {
            return Err(("service_account.type", "expected service_account: the key file of a service account".to_owned()));
        }
        let file =
            KeyFile::deserialize(json).map_err(|e| ("service_account", format!("not a service account's key file: {e}")))?;
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:@".contains(&b));
        for (field, text) in
            [("service_account.project_id", &file.project_id), ("service_account.client_email", &file.client_email)]
        {
            if !plain(text) {
                return Err((field, "empty, or not made of letters, digits and -_.:@".to_owned()));
            }
        }
        let token_uri: Uri = file.token_uri.parse().map_err(|_| ("service_account.token_uri", "not a URL".to_owned()))?;
        // The only address in the file that we call: it has to be Google's, or anybody could point us at our own network.
        let host = token_uri.host().unwrap_or("");
        let googles = host == "oauth2.googleapis.com" || host == "www.googleapis.com" || host == "accounts.google.com";
        if token_uri.scheme_str() != Some("https") || !googles || token_uri.port().is_some() {
            return Err(("service_account.token_uri", "expected https:// and one of Google's token hosts".to_owned()));
        }
        let wrong =
            |_| ("service_account.private_key", "expected an RSA private key of at least 2048 bits in PEM form".to_owned());
        let key = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        let pair = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(wrong(String::new())),
        };
        let pair = pair.map_err(|e| wrong(e.to_string()))?;
        let KeyFile { project_id, private_key_id, client_email, .. } = file;
        Ok(Self { project_id, client_email, token_uri, private_key_id, pair })
    }

    /// The assertion that buys an access token.
    fn assertion(&self, now_ms: i64) -> Option<String> {
        let iat_s = now_ms.div_euclid(1_000);
        let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": self.private_key_id});
        let claims = serde_json::json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri.to_string(),
            "iat": iat_s,
            "exp": iat_s + 3_600,
        });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The access token in hand.
pub struct AccessToken {
    account: ServiceAccount,
    pool: Pool,
    clock: Clock,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
    /// An exchange has ended.
    bought: Notify,
}

#[derive(Default)]
struct State {
    header: Option<HeaderValue>,
    expires_ms: i64,
    renewing: bool,
    failures: u32,
    not_before_ms: i64,
    /// Whether the token in hand replaced one that was refused, and has not been taken yet.
    forced: bool,
    /// Google's word when the last exchange was refused: the account is at fault, not the way to it.
    refused: Option<String>,
}

/// Why there is no access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status; absent when no answer came.
    pub status: Option<u16>,
    /// Google's word (`invalid_grant`, …), or ours.
    pub reason: String,
}

impl Refused {
    fn ours(reason: impl Into<String>) -> Self {
        Self { status: None, reason: reason.into() }
    }

    /// Whether the account is at fault, not the way to Google.
    pub fn is_final(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) && status != 429)
    }
}

impl State {
    fn left_ms(&self, now_ms: i64) -> i64 {
        if self.header.is_some() { self.expires_ms - now_ms } else { 0 }
    }

    fn usable(&self, now_ms: i64) -> Option<&HeaderValue> {
        self.header.as_ref().filter(|_| self.left_ms(now_ms) > UNUSED_BEFORE_MS)
    }

    fn paused_until_ms(&self, now_ms: i64) -> Option<i64> {
        Some(self.not_before_ms).filter(|ms| clock::is_ahead(*ms, now_ms, PAUSE_MS << DOUBLINGS))
    }
}

#[derive(Deserialize)]
struct Bought {
    access_token: String,
    expires_in: i64,
}

impl AccessToken {
    /// No token yet; `pool` leads to the account's token host. Call it inside a tokio runtime.
    pub fn new(account: ServiceAccount, pool: Pool, clock: Clock) -> Self {
        Self { account, pool, clock, runtime: tokio::runtime::Handle::current(), state: Mutex::default(), bought: Notify::new() }
    }

    /// The project that this account sends for.
    pub fn project_id(&self) -> &str {
        &self.account.project_id
    }

    /// The account's address at Google.
    pub fn client_email(&self) -> &str {
        &self.account.client_email
    }

    /// The `authorization` header to send now; without one, or shortly before its end, an exchange is started in the
    /// background and `then` is called after it.
    pub fn bearer(self: &Arc<Self>, now_ms: i64, then: impl FnOnce() + Send + 'static) -> Option<HeaderValue> {
        let mut state = self.state();
        if state.left_ms(now_ms) < RENEW_BEFORE_MS && !state.renewing && state.paused_until_ms(now_ms).is_none() {
            state.renewing = true;
            let me = Arc::clone(self);
            self.runtime.spawn(async move {
                me.renew().await;
                me.bought.notify_waiters();
                then();
            });
        }
        state.usable(now_ms).cloned()
    }

    /// Waits for the exchange that is under way, if one is. Answers whether there is a token to send with.
    pub async fn comes(&self, now_ms: i64, until: Instant) -> bool {
        loop {
            let bought = self.bought.notified();
            tokio::pin!(bought);
            bought.as_mut().enable();
            let (there, renewing) = {
                let state = self.state();
                (state.usable(now_ms).is_some(), state.renewing)
            };
            if there || !renewing || timeout_at(until, bought).await.is_err() {
                return there;
            }
        }
    }

    /// Google's word when it refuses the account itself.
    pub fn refused(&self) -> Option<String> {
        self.state().refused.clone()
    }

    /// When the next exchange may be tried, if the last one failed and that time is still to come.
    pub fn paused_until_ms(&self, now_ms: i64) -> Option<i64> {
        self.state().paused_until_ms(now_ms)
    }

    /// Google refused this token: it is thrown away, once. False: a new one was refused as well.
    pub fn discard(&self, refused: &HeaderValue) -> bool {
        let mut state = self.state();
        if state.header.as_ref() != Some(refused) {
            return true;
        }
        let first = !state.forced;
        state.header = None;
        state.forced = true;
        first
    }

    /// A request with this token was taken.
    pub fn proven(&self) {
        self.state().forced = false;
    }

    async fn renew(&self) {
        let bought = self.exchange().await;
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        state.renewing = false;
        match bought {
            Ok((header, expires_in_s)) => {
                state.header = Some(header);
                state.expires_ms = now_ms + expires_in_s * 1_000;
                state.failures = 0;
                state.not_before_ms = 0;
                state.refused = None;
            }
            Err(why) => {
                state.not_before_ms = now_ms + (PAUSE_MS << state.failures.min(DOUBLINGS));
                state.failures += 1;
                tracing::warn!(
                    reason = why.reason,
                    status = why.status,
                    failures = state.failures,
                    "no access token from Google"
                );
                state.refused = why.is_final().then_some(why.reason);
            }
        }
    }

    async fn exchange(&self) -> Result<(HeaderValue, i64), Refused> {
        exchange(&self.account, &self.pool, self.clock.now_ms()).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buys an access token: the `authorization` header and how long it is good, in seconds.
///
/// # Errors
/// Why there is none.
pub async fn exchange(account: &ServiceAccount, pool: &Pool, now_ms: i64) -> Result<(HeaderValue, i64), Refused> {
    let assertion = account.assertion(now_ms).ok_or_else(|| Refused::ours("cannot sign"))?;
    let body = Bytes::from(format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"));
    let uri = account.token_uri.clone();
    let outgoing = move || {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri.clone();
        *head.version_mut() = Version::HTTP_2;
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Outgoing { head, body: body.clone() }
    };
    let answer = pool.request(outgoing, EXCHANGE_TIMEOUT).await.map_err(|loss| Refused::ours(loss_word(loss)))?;
    if answer.status != http::StatusCode::OK {
        let said: Option<Said> = serde_json::from_slice(&answer.body).ok();
        let status = answer.status.as_u16();
        // The description may echo the assertion: only the word is told.
        let reason = said.map_or_else(|| format!("http_{status}"), |said| crate::push::verdict::word(&said.error));
        return Err(Refused { status: Some(status), reason });
    }
    let bought: Bought = serde_json::from_slice(&answer.body).map_err(|_| Refused::ours("not an access token"))?;
    let mut header =
        HeaderValue::from_str(&format!("Bearer {}", bought.access_token)).map_err(|_| Refused::ours("not an access token"))?;
    header.set_sensitive(true);
    Ok((header, bought.expires_in.clamp(0, 86_400)))
}

/// A refusal of the token host's.
#[derive(Deserialize)]
struct Said {
    error: String,
}

fn loss_word(loss: Loss) -> &'static str {
    match loss {
        Loss::Unsent(why) | Loss::Unknown(why) => why,
    }
}

/// The access tokens of this process: one per service account, for all lanes that use it.
#[derive(Default)]
pub struct AccessTokens(Mutex<HashMap<Identity, Weak<AccessToken>>>);

/// What makes two accounts one: names and the key itself, so that nobody gets a token by another's name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    project_id: String,
    client_email: String,
    token_uri: String,
    private_key_id: String,
    public_key: Vec<u8>,
}

impl AccessTokens {
    /// The token of this account; made by `make` when nobody has it, gone with the last who has it.
    ///
    /// # Errors
    /// What `make` says.
    pub fn of<E>(
        &self,
        account: ServiceAccount,
        make: impl FnOnce(ServiceAccount) -> Result<AccessToken, E>,
    ) -> Result<Arc<AccessToken>, E> {
        let identity = Identity {
            project_id: account.project_id.clone(),
            client_email: account.client_email.clone(),
            token_uri: account.token_uri.to_string(),
            private_key_id: account.private_key_id.clone(),
            public_key: account.pair.public_key().as_ref().to_vec(),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, token| token.strong_count() > 0);
        if let Some(token) = known.get(&identity).and_then(Weak::upgrade) {
            return Ok(token);
        }
        let token = Arc::new(make(account)?);
        known.insert(identity, Arc::downgrade(&token));
        Ok(token)
    }
}

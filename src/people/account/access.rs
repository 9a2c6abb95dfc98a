//! The long-lived part of the room: signing keys, tokens that were checked already.

use super::Hasher;
use super::caller::UserToken;
use super::methods::Methods;
use super::refresh;
use super::signer::{self, Acting, Claims, Signer};
use super::store::{self, Session};
use crate::app::Mode;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, Ids, SessionId};
use crate::platform::{MasterKey, Platform};
use crate::store::Conn;
use crate::worker::{Hint, Progress, Worker};
use moka::sync::Cache as Map;
use ring::digest;
use std::sync::Arc;
use std::time::Duration;

/// Published after a commit that ended a session; the payload is its id.
pub const SESSIONS_TOPIC: &str = "sessions";
/// Most tokens that are remembered as checked.
const CHECKED_MAX: u64 = 200_000;
/// Most sessions that are remembered as ended.
const ENDED_MAX: u64 = 1_000_000;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    platform: Platform,
    signer: Signer,
    checked: Map<[u8; 32], Checked>,
    /// Sessions that ended while tokens of theirs may still be remembered.
    ended: Map<SessionId, ()>,
}

#[derive(Clone, Copy)]
struct Checked {
    token: UserToken,
    expires_s: i64,
}

/// The two tokens of a session, as handed out.
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) expires_in_s: i64,
    pub(super) refresh: Secret,
}

impl Accounts {
    /// Opens, or makes, the signing key.
    ///
    /// # Errors
    /// When the signing key cannot be opened; what the database says.
    pub async fn open(platform: &Platform) -> Result<Self> {
        let config = &platform.config;
        let life_s = u64::try_from(config.access_token_life_s).unwrap_or(0);
        let accounts = Self(Arc::new(Inner {
            signer: Signer::open(platform).await?,
            checked: Map::builder().max_capacity(CHECKED_MAX).time_to_live(Duration::from_secs(life_s)).build(),
            ended: Map::builder().max_capacity(ENDED_MAX).time_to_live(Duration::from_secs(life_s + 60)).build(),
            platform: platform.clone(),
        }));
        let weak = Arc::downgrade(&accounts.0);
        platform.cache.subscribe(SESSIONS_TOPIC, move |session| {
            let Some(inner) = weak.upgrade() else { return };
            match session.parse() {
                Ok(session) => inner.ended.insert(session, ()),
                // Some news were missed: every token is checked against the database again.
                Err(_) => inner.checked.invalidate_all(),
            }
        });
        Ok(accounts)
    }

    /// The platform that it stands on.
    pub fn platform(&self) -> &Platform {
        &self.0.platform
    }

    /// The pool that hashes passwords.
    pub fn hasher(&self) -> &Hasher {
        &self.0.platform.hasher
    }

    /// Who a token speaks for. A session that has ended speaks for nobody, from the answer of its end on.
    ///
    /// # Errors
    /// 401, the same for every reason; what the database says.
    pub async fn verify(&self, token: &str) -> Result<UserToken> {
        let inner = &self.0;
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let checked = match inner.checked.get(&key) {
            Some(checked) => checked,
            None => {
                let checked = inner.check(token).await?.ok_or_else(refused)?;
                inner.checked.insert(key, checked);
                checked
            }
        };
        // Asked on every use and after the look-up, so that a session which ends during it is seen.
        let is_over = inner.platform.clock.now_ms().div_euclid(1_000) >= checked.expires_s;
        if is_over || inner.ended.contains_key(&checked.token.session_id) {
            return Err(refused());
        }
        Ok(checked.token)
    }

    /// The tokens of a session at a place in its chain, with the claims that the app gives its user.
    pub(super) fn tokens(&self, session: &Session, claims: Option<FreeJson>, generation: i64) -> Result<Tokens> {
        let platform = &self.0.platform;
        let expires_in_s = platform.config.access_token_life_s;
        let access = self.access_token(session, claims, expires_in_s)?;
        let refresh = refresh::make(&platform.master_key, (session.app_id, &session.mode), session.id, generation);
        Ok(Tokens { access, expires_in_s, refresh })
    }

    /// An access token of a session that lives for so many seconds.
    pub(super) fn access_token(&self, session: &Session, own: Option<FreeJson>, expires_in_s: i64) -> Result<String> {
        let platform = &self.0.platform;
        let iat = platform.clock.now_ms().div_euclid(1_000);
        let claims = Claims {
            iss: platform.config.public_url.clone(),
            aud: session.app_id,
            sub: session.user_id,
            sid: session.id,
            client_id: session.app_id,
            mode: session.mode.clone(),
            amr: Methods::parse(&session.amr)?.words().into_iter().map(str::to_owned).collect(),
            auth_time: session.auth_ms.div_euclid(1_000),
            iat,
            exp: iat + expires_in_s,
            jti: platform.ids.next::<SessionId>().uuid().as_simple().to_string(),
            act: session.actor.clone().map(|sub| Acting { sub }),
            claims: own,
        };
        self.0.signer.sign(&claims)
    }

    /// Signs a document that is no access token: `typ` in the header of the JWS says what it is, and our own verifier
    /// refuses every `typ` but its own.
    ///
    /// # Errors
    /// When the claims cannot be written as JSON.
    pub fn sign_document(&self, typ: &str, claims: &impl serde::Serialize) -> Result<String> {
        self.0.signer.sign_as(typ, claims)
    }

    /// Makes a new signing key at once; it signs once every verifier has seen it. Answers its id.
    ///
    /// # Errors
    /// What the database says.
    pub fn rotate(conn: &mut Conn, with: (&MasterKey, &Ids, i64)) -> Result<String> {
        let made = signer::make(conn, with, |_| true)?;
        made.ok_or_else(|| Error::broken("a key that was wanted was not made"))
    }

    /// The loop that changes signing keys.
    pub fn worker(&self) -> Worker {
        let accounts = self.clone();
        Worker::new("signing_keys", Hint::default(), 60_000, move || {
            let accounts = accounts.clone();
            async move { accounts.0.signer.tend().await.map(|()| Progress::Idle) }
        })
    }

    /// The salt of an address: the same for all its accounts, and unknown without the master key.
    pub(super) fn salt(&self, app_id: AppId, email: &str) -> [u8; 16] {
        let bytes = self.0.platform.master_key.derive("password salt", format!("{app_id}|{email}").as_bytes());
        let mut salt = [0; 16];
        salt.copy_from_slice(&bytes[..16]);
        salt
    }
}

impl Inner {
    async fn check(&self, token: &str) -> Result<Option<Checked>> {
        let Some(claims) = self.signer.check(token).await? else { return Ok(None) };
        let (app_id, user_id, session_id) = (claims.aud, claims.sub, claims.sid);
        let found = self.platform.store.read(move |conn| store::session(conn, app_id, session_id)).await?;
        let lives = found.is_some_and(|(session, user)| user.id == user_id && session.ended_ms.is_none() && !user.disabled);
        if !lives {
            return Ok(None);
        }
        let token = UserToken {
            app_id,
            user_id,
            session_id,
            mode: Mode::parse(&claims.mode)?,
            proven_ms: Some(claims.auth_time.saturating_mul(1_000)).filter(|_| !claims.amr.is_empty()),
            acting: claims.act.is_some(),
        };
        Ok(Some(Checked { token, expires_s: claims.exp }))
    }
}

fn refused() -> Error {
    Error::unauthorized("Send an access token of this server that is valid, of a session that has not ended.")
}

/// The refusal of a request without a token: the same words as for a wrong one.
pub(super) fn missing() -> Error {
    refused()
}

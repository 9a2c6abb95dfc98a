//! Sign-in by an ID token of another issuer: Apple, Google, any OpenID Connect provider.
//!
//! How an identity that nobody knows yet (provider, issuer, subject) comes to an account:
//!
//! | its address is | and belongs to | then |
//! |---|---|---|
//! | the issuer's own to vouch for | an account that has proven it | the identity is linked, and signed in |
//! | the same | nobody; some have claimed it | the oldest claim's account, after every way in that it had has ended |
//! | the same | nobody | a new account, whose address it is |
//! | verified, but not the issuer's own | an account that has proven it | 202: linked when that account's user says so, in a fresh session of theirs; or a new account, when the caller asks for one |
//! | anything else | | a new account without an address |
//!
//! An unverified address says nothing, and no answer tells whose it is.

mod apple;
mod enter;
mod fetch;
pub mod http;
mod keys;
mod keyset;
mod link;
mod notice;
mod provider;
mod revocation;
mod store;
mod token;

pub use link::{forget_identities, revoke_apple, vouches};
pub use provider::{AppleIds, NonceRule, Provider};
pub(super) use store::is_unreachable;

use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, IdentityId};
use crate::platform::Platform;
use crate::worker::{Hint, Worker};
use enter::Guest;
use keys::{Keys, Source};
use notice::Notice;
use provider::{APPLE, APPLE_NAME, Vouched, apple_source};
use std::sync::Arc;
use token::{Flaw, Signed};

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Federation(Arc<Inner>);

struct Inner {
    platform: Platform,
    keys: Keys,
    /// Wakes what tells Apple of tokens to take back.
    hint: Hint,
}

/// What a caller shows.
struct Shown {
    provider: String,
    id_token: Secret,
    nonce: Option<Secret>,
    authorization_code: Option<Secret>,
}

impl Federation {
    /// Checks that every issuer that is set up can be told from others.
    ///
    /// # Errors
    /// One line that says which one, and what to do; what the database says.
    pub async fn open(platform: &Platform) -> Result<Self> {
        let all = platform.store.read(store::all_providers).await?;
        all.iter().try_for_each(Provider::stands)?;
        let inner = Inner { platform: platform.clone(), keys: Keys::new(platform), hint: Hint::default() };
        Ok(Self(Arc::new(inner)))
    }

    /// The loop that has Apple take tokens back.
    pub fn worker(&self) -> Worker {
        revocation::worker(&self.0.platform, &self.0.hint)
    }

    /// Who a caller is, by what they show.
    ///
    /// # Errors
    /// 400 for a provider that is not set up; 401 `invalid_id_token`, the same for every reason; 503.
    async fn guest(&self, app_id: AppId, shown: Shown) -> Result<Guest> {
        let platform = &self.0.platform;
        let Shown { provider, id_token, nonce, authorization_code } = shown;
        let found = platform.store.read(move |conn| store::provider(conn, app_id, &provider)).await?;
        let provider = found.ok_or_else(|| Error::invalid("provider", "unknown", "is not set up in this app"))?;
        provider.stands()?;
        let vouched = self.vouched(&provider, &id_token, nonce.as_ref().map(Secret::expose)).await?;
        let mut guest = Guest { app_id, id: platform.ids.next(), provider: provider.name.clone(), vouched, refresh_sealed: None };
        if let Some(code) = authorization_code {
            self.keep_refresh(&provider, &mut guest, &code).await?;
        }
        Ok(guest)
    }

    async fn vouched(&self, provider: &Provider, id_token: &Secret, nonce: Option<&str>) -> Result<Vouched> {
        let platform = &self.0.platform;
        let now_s = platform.clock.now_ms().div_euclid(1_000);
        let refused = |flaw| refused(&provider.name, flaw);
        let signed = token::read(id_token.expose()).map_err(refused)?;
        // Before its keys are asked for: another issuer's tokens cost this one's nothing.
        provider.issued(&signed.claims).map_err(refused)?;
        self.signed(provider.source(&platform.config), &signed).await?.map_err(refused)?;
        provider.judge(&signed.claims, nonce, now_s).map_err(refused)
    }

    /// Whether a token is signed by one of an issuer's keys.
    async fn signed(&self, source: Source, token: &Signed<'_>) -> Result<Result<(), Flaw>> {
        let keys = self.0.keys.of(source, token).await?;
        Ok(match (keys.knows(&token.kid, token.algorithm), keys.signed(token)) {
            (false, _) => Err("unknown_key"),
            (true, false) => Err("signature"),
            (true, true) => Ok(()),
        })
    }

    /// What Apple tells, and which apps it is for.
    ///
    /// # Errors
    /// 401 `invalid_id_token`, the same for every reason; 503.
    async fn notice(&self, payload: &str) -> Result<(Notice, Vec<Provider>)> {
        let platform = &self.0.platform;
        let refused = |flaw| refused("apple notice", flaw);
        let signed = token::read(payload).map_err(refused)?;
        if signed.claims.text("iss").map_err(refused)? != Some(APPLE) {
            return Err(refused("iss"));
        }
        self.signed(apple_source(&platform.config), &signed).await?.map_err(refused)?;
        let apps = platform.store.read(|conn| store::providers_named(conn, APPLE_NAME)).await?;
        Notice::read(&signed.claims, &apps, platform.clock.now_ms().div_euclid(1_000)).map_err(refused)
    }

    /// Says that Apple may have to take a token back.
    fn nudge(&self) {
        self.0.hint.nudge();
    }

    /// Trades Apple's code for a refresh token, unless there is one.
    async fn keep_refresh(&self, provider: &Provider, guest: &mut Guest, code: &Secret) -> Result<()> {
        let platform = &self.0.platform;
        if provider.settings.apple.is_none() {
            return Ok(());
        }
        let (app_id, key) = (guest.app_id, guest.key());
        let known = platform.store.read(move |conn| store::by_subject(conn, app_id, (&key.0, &key.1, &key.2))).await?;
        if let Some(known) = known {
            if known.refresh_sealed.is_some() {
                return Ok(());
            }
            guest.id = known.id;
        }
        let who = (guest.vouched.client_id.as_str(), guest.vouched.subject.as_str());
        if let Some(token) = apple::trade(platform, provider, who, code.expose()).await? {
            let context = refresh_context(app_id, guest.id);
            guest.refresh_sealed = Some(platform.master_key.seal(&platform.ids, &context, token.expose().as_bytes())?);
        }
        Ok(())
    }
}

/// Ties a sealed refresh token to its identity.
fn refresh_context(app_id: AppId, id: IdentityId) -> String {
    format!("identities/{app_id}/{id}/refresh")
}

/// One answer for every flaw; which one it was is counted.
fn refused(provider: &str, flaw: Flaw) -> Error {
    metrics::counter!("kairos_id_token_refused_total", "reason" => flaw).increment(1);
    tracing::info!(provider, flaw, "an ID token was refused");
    bad_token()
}

fn bad_token() -> Error {
    let detail = "The ID token is not one of this provider's for this app that is good now: ask the provider for a new one.";
    Problem::new(401, "invalid_id_token", detail).into()
}

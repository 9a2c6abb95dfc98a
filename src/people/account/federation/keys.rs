//! The keys of issuers, kept as long as they say: one request at a time, and few of them whatever tokens come.
//!
//! A key set is good for as long as its issuer's `Cache-Control` says, 5 minutes at least and a day at most. A token
//! under an unknown key makes us look again, once a minute. While the issuer is away, its keys are believed for
//! another day.

use super::fetch;
use super::keyset::KeySet;
use super::token::Signed;
use crate::clock::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::error::{Error, Problem, Result};
use crate::platform::Platform;
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use moka::sync::Cache as Map;
use serde::Deserialize;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;

/// For how long keys are good: at least, at most, and when their issuer does not say.
const GOOD_MS: (i64, i64, i64) = (5 * MINUTE_MS, DAY_MS, HOUR_MS);
/// How much longer they are believed while their issuer is away.
const STALE_MS: i64 = DAY_MS;
/// How long nothing is asked after something was asked: with keys in hand, and without.
const PAUSE_MS: (i64, i64) = (MINUTE_MS, 10_000);
/// Most issuers whose keys are kept.
const SOURCES_MAX: u64 = 10_000;

/// Whose keys, and where they are; without a place it is asked where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub(super) issuer: String,
    pub(super) jwks_uri: Option<String>,
}

/// See the module.
pub(super) struct Keys {
    platform: Platform,
    slots: Map<Source, Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    held: RwLock<Option<Held>>,
    /// When something was asked last; whoever asks holds it.
    asked_ms: Mutex<Option<i64>>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<KeySet>,
    read_ms: i64,
    good_ms: i64,
}

impl Keys {
    pub(super) fn new(platform: &Platform) -> Self {
        Self { platform: platform.clone(), slots: Map::new(SOURCES_MAX) }
    }

    /// The keys of an issuer; when the token's is not among them, it is unknown.
    ///
    /// # Errors
    /// 503 when there are none that can be believed.
    pub(super) async fn of(&self, source: Source, token: &Signed<'_>) -> Result<Arc<KeySet>> {
        let slot = self.slots.get_with_by_ref(&source, Arc::default);
        let wanted = |held: &Held| held.keys.knows(&token.kid, token.algorithm);
        if let Some(held) = slot.good(self.platform.clock.now_ms()).filter(wanted) {
            return Ok(held.keys);
        }
        let (kid, algorithm) = (token.kid.clone(), token.algorithm);
        let platform = self.platform.clone();
        // A caller who hangs up ends nothing: the pause after a request would count, and its answer would be lost.
        let asked = tokio::spawn(async move {
            let known = |held: &Held| held.keys.knows(&kid, algorithm);
            slot.ask(&platform, &source, known).await
        });
        asked.await.map_err(Error::broken)?
    }
}

impl Slot {
    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is in hand and good. A clock that was set back makes nothing good for longer.
    fn good(&self, now_ms: i64) -> Option<Held> {
        self.held().filter(|held| now_ms.abs_diff(held.read_ms) < held.good_ms.unsigned_abs())
    }

    async fn ask(&self, platform: &Platform, source: &Source, wanted: impl Fn(&Held) -> bool) -> Result<Arc<KeySet>> {
        let mut asked_ms = self.asked_ms.lock().await;
        let now_ms = platform.clock.now_ms();
        // Whoever held the lock may have brought them.
        if let Some(held) = self.good(now_ms).filter(wanted) {
            return Ok(held.keys);
        }
        let pause_ms = if self.held().is_some() { PAUSE_MS.0 } else { PAUSE_MS.1 };
        if asked_ms.is_none_or(|at_ms| now_ms.abs_diff(at_ms) >= pause_ms.unsigned_abs()) {
            *asked_ms = Some(now_ms);
            match fetch(platform, source).await {
                Ok(held) => *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held),
                Err(why) => tracing::warn!(issuer = source.issuer, why, "the keys of an identity provider cannot be read"),
            }
        }
        let believed = |held: &Held| now_ms.abs_diff(held.read_ms) < (held.good_ms + STALE_MS).unsigned_abs();
        self.held().filter(believed).map(|held| held.keys).ok_or_else(away)
    }
}

fn away() -> Error {
    let mut problem =
        Problem::new(503, "identity_provider_away", "The identity provider's keys cannot be read. Try again shortly.");
    problem.retry_after_s = Some(10);
    problem.into()
}

async fn fetch(platform: &Platform, source: &Source) -> Result<Held, &'static str> {
    let found;
    let uri = match &source.jwks_uri {
        Some(uri) => uri,
        None => {
            found = discover(platform, &source.issuer).await?;
            &found
        }
    };
    let answer = fetch::get(platform, uri).await?;
    let keys = Arc::new(KeySet::parse(&answer.body)?);
    Ok(Held { keys, read_ms: platform.clock.now_ms(), good_ms: good_ms(&answer.headers) })
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Where an issuer's discovery document says that its keys are. It has to be about this issuer (OpenID Connect
/// Discovery 1.0, §4.3).
async fn discover(platform: &Platform, issuer: &str) -> Result<String, &'static str> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let answer = fetch::get(platform, &url).await?;
    let document: Discovery = serde_json::from_slice(&answer.body).map_err(|_| "its discovery document is not one")?;
    if document.issuer == issuer { Ok(document.jwks_uri) } else { Err("its discovery document is of another issuer") }
}

fn good_ms(headers: &HeaderMap) -> i64 {
    let (least_ms, most_ms, usual_ms) = GOOD_MS;
    let Some(text) = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()) else { return usual_ms };
    let mut words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
    let age = words.find_map(|word| word.strip_prefix("max-age=")?.parse::<i64>().ok());
    age.map_or(least_ms, |age_s| age_s.saturating_mul(1_000).clamp(least_ms, most_ms))
}

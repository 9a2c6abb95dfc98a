//! The loop that has Apple take back the refresh tokens of identities that are gone.

use super::apple;
use super::notice::KEPT_MS;
use super::provider::APPLE_NAME;
use super::refresh_context;
use super::store::{self, Revocation};
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::worker::{Hint, Progress, Worker};

/// How often to look without a hint, in milliseconds.
const POLL_MS: u64 = 30_000;
/// Tokens of one step.
const BATCH: i64 = 10;
/// How often Apple is asked before a token is given up: some four days.
const ATTEMPTS_MAX: i64 = 20;
/// Wait after the first failure, doubling, and the longest one, in milliseconds.
const WAIT_MS: (i64, i64) = (MINUTE_MS, 6 * HOUR_MS);

pub(super) fn worker(platform: &Platform, hint: &Hint) -> Worker {
    let platform = platform.clone();
    Worker::new("apple-revocation", hint.clone(), POLL_MS, move || {
        let platform = platform.clone();
        async move { step(&platform).await }
    })
}

async fn step(platform: &Platform) -> Result<Progress> {
    let now_ms = platform.clock.now_ms();
    let due = platform.store.read(move |conn| store::due_revocations(conn, now_ms, BATCH)).await?;
    if due.is_empty() {
        let next_ms = platform.store.read(store::next_revocation_ms).await?;
        return Ok(next_ms.map_or(Progress::Idle, Progress::Until));
    }
    for revocation in due {
        let wait_ms = WAIT_MS.0.saturating_mul(1_i64 << revocation.attempts.clamp(0, 20)).min(WAIT_MS.1);
        let claimed = revocation.clone();
        let claim = platform.store.write(move |conn| {
            store::forget_notices(conn, now_ms - KEPT_MS)?;
            store::put_off(conn, &claimed, now_ms + wait_ms)
        });
        // Another node may have it; asking Apple twice does no harm.
        if claim.await? && settled(platform, &revocation).await? {
            platform.store.write(move |conn| store::end_revocation(conn, &revocation)).await?;
        }
    }
    Ok(Progress::More)
}

/// Whether nothing is left to be said.
async fn settled(platform: &Platform, revocation: &Revocation) -> Result<bool> {
    let (app_id, client_id) = (revocation.app_id, revocation.client_id.as_str());
    let last = revocation.attempts + 1 >= ATTEMPTS_MAX;
    let provider = platform.store.read(move |conn| store::provider(conn, app_id, APPLE_NAME)).await?;
    let Some(provider) = provider else { return Ok(given_up(last)) };
    let sealed = platform.master_key.open(&refresh_context(app_id, revocation.identity_id), &revocation.refresh_sealed)?;
    let token = Secret::new(String::from_utf8(sealed).map_err(|_| Error::broken("a stored refresh token is no text"))?);
    Ok(apple::take_back(platform, &provider, client_id, &token).await? || given_up(last))
}

fn given_up(last: bool) -> bool {
    if last {
        metrics::counter!("kairos_apple_revocations_given_up_total").increment(1);
        tracing::warn!("a token of Sign in with Apple could not be taken back; its user can end it in their settings");
    }
    last
}

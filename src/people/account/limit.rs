//! How often one may try: per address, per account, and how many failures an account takes in a day.

use crate::cache::Budget;
use crate::clock::{DAY_MS, MINUTE_MS};
use crate::error::{Error, Problem, Result};
use crate::http::ClientAddress;
use crate::id::AppId;
use crate::platform::Platform;

/// Failed attempts after which an e-mail is locked for the rest of the day, known or not (NIST SP 800-63B: at most 100).
const FAILURES_PER_DAY: u32 = 100;

/// An attempt to sign in or up, as the limits count it.
pub(super) struct Attempt {
    platform: Platform,
    failures: String,
}

impl Attempt {
    /// Counts an attempt, before anything is looked up: the same for known and unknown e-mails.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn begin(platform: &Platform, app_id: AppId, email: &str, address: ClientAddress) -> Result<Self> {
        by_address(platform, address).await?;
        // The cache never sees the address itself.
        let who = platform.master_key.derive_hex("sign-in limit", format!("{app_id}|{email}").as_bytes());
        let limit = platform.config.sign_in_per_account_per_minute;
        let bucket = format!("sign-in:{who}");
        take(platform, Budget { bucket: &bucket, limit, window_ms: MINUTE_MS }, 1).await?;
        let failures = format!("sign-in-failed:{who}");
        // Costs nothing, and is refused once the budget is used up.
        take(platform, Budget { bucket: &failures, limit: FAILURES_PER_DAY - 1, window_ms: DAY_MS }, 0).await?;
        Ok(Self { platform: platform.clone(), failures })
    }

    /// Counts a failure.
    pub(super) async fn failed(self) {
        let now_ms = self.platform.clock.now_ms();
        // A full budget is found by the next attempt.
        let budget = Budget { bucket: &self.failures, limit: FAILURES_PER_DAY, window_ms: DAY_MS };
        let _ = self.platform.cache.take(budget, 1, now_ms).await;
    }
}

/// Counts a call that makes a session, by where it comes from.
///
/// # Errors
/// 429.
pub(super) async fn by_address(platform: &Platform, address: ClientAddress) -> Result<()> {
    let limit = platform.config.sign_in_per_address_per_minute;
    let bucket = format!("sign-in-from:{}", address.prefix());
    take(platform, Budget { bucket: &bucket, limit, window_ms: MINUTE_MS }, 1).await
}

async fn take(platform: &Platform, budget: Budget<'_>, cost: u32) -> Result<()> {
    let Err(wait_ms) = platform.cache.take(budget, cost, platform.clock.now_ms()).await else { return Ok(()) };
    let mut problem = Problem::new(429, "too_many_attempts", "Too many attempts; wait before the next one.");
    problem.retry_after_s = Some(u64::try_from(wait_ms.max(0)).unwrap_or(0).div_ceil(1_000).max(1));
    Err(Error::from(problem))
}

//! How often one may try: per address, per account, and how many failures an account takes in a day.

use crate::cache::Budget;
use crate::clock::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::error::{Error, Problem, Result};
use crate::http::ClientAddress;
use crate::id::AppId;
use crate::platform::Platform;

/// Failed attempts that an account takes in a span, known or not: the more there were, the longer is the wait. At most
/// 100 in a day (NIST SP 800-63B). A right password does not get through either, so that no answer tells of one.
const PER_ACCOUNT: [(u32, i64); 4] = [(6, MINUTE_MS), (20, 15 * MINUTE_MS), (50, 3 * HOUR_MS), (100, DAY_MS)];
/// Those that one network takes, over all accounts: many people may share one.
const PER_NETWORK: [(u32, i64); 3] = [(40, MINUTE_MS), (200, HOUR_MS), (1_000, DAY_MS)];

/// An attempt to sign in or up, as the limits count it.
pub(super) struct Attempt {
    platform: Platform,
    failures: Vec<(String, u32, i64)>,
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
        let of = |name: String, all: &[(u32, i64)]| -> Vec<(String, u32, i64)> {
            all.iter().map(|(limit, window_ms)| (format!("{name}:{window_ms}"), *limit, *window_ms)).collect()
        };
        let mut failures = of(format!("sign-in-failed:{who}"), &PER_ACCOUNT);
        failures.extend(of(format!("sign-in-failed-from:{}", address.prefix()), &PER_NETWORK));
        for (bucket, limit, window_ms) in &failures {
            // Costs nothing, and is refused once the budget is used up.
            take(platform, Budget { bucket, limit: limit - 1, window_ms: *window_ms }, 0).await?;
        }
        Ok(Self { platform: platform.clone(), failures })
    }

    /// Counts a failure.
    pub(super) async fn failed(&self) {
        let now_ms = self.platform.clock.now_ms();
        for (bucket, limit, window_ms) in &self.failures {
            // A full budget is found by the next attempt.
            let _ = self.platform.cache.take(Budget { bucket, limit: *limit, window_ms: *window_ms }, 1, now_ms).await;
        }
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

//! How many requests a key or session may make: a budget over four seconds, shared by all nodes.

use crate::cache::Budget;
use crate::error::{Problem, Result};
use crate::http::Quota;
use crate::platform::Platform;
use actix_web::{HttpMessage as _, HttpRequest, web};
use moka::sync::Cache as Map;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The window, in seconds: as much may come at once as in four even seconds.
const WINDOW_S: u32 = 4;
/// A node draws from the shared budget in hundredths, so that not every request asks the cache.
const SHARES: u32 = 100;
/// Most callers that are counted at a time.
const CALLERS_MAX: u64 = 200_000;

/// Counts requests by caller; cheap to clone.
#[derive(Clone)]
pub struct Quotas {
    platform: Platform,
    drawn: Map<Uuid, Arc<Mutex<Drawn>>>,
}

/// What this node drew from a caller's budget in a window, and what of it is used.
#[derive(Default)]
struct Drawn {
    window: i64,
    granted: u32,
    used: u32,
}

impl Quotas {
    /// An empty count.
    pub fn open(platform: &Platform) -> Self {
        Self { platform: platform.clone(), drawn: Map::builder().max_capacity(CALLERS_MAX).build() }
    }

    /// Takes one request from a caller's budget; `None` when there is no limit.
    ///
    /// # Errors
    /// 429 `rate_limited` with the seconds to wait.
    pub async fn take(&self, caller: Uuid) -> Result<Option<Quota>> {
        let limit = self.platform.config.requests_per_key_per_second.saturating_mul(WINDOW_S);
        if limit == 0 {
            return Ok(None);
        }
        let window_ms = i64::from(WINDOW_S) * 1_000;
        let now_ms = self.platform.clock.now_ms();
        let window = now_ms.div_euclid(window_ms);
        let reset_s = (window_ms - now_ms.rem_euclid(window_ms) + 999) / 1_000;
        let drawn = self.drawn.get_with(caller, Arc::default);
        loop {
            if let Some(used) = use_one(&drawn, window) {
                let remaining = limit.saturating_sub(used);
                return Ok(Some(Quota { limit, window_s: i64::from(WINDOW_S), remaining, reset_s }));
            }
            let share = (limit / SHARES).max(1);
            let bucket = format!("requests:{}", caller.as_simple());
            let budget = Budget { bucket: &bucket, limit, window_ms };
            if self.platform.cache.take(budget, share, now_ms).await.is_err() {
                let mut problem = Problem::new(429, "rate_limited", "Too many requests with this key; wait before the next one.");
                problem.retry_after_s = Some(u64::try_from(reset_s).unwrap_or(1).max(1));
                return Err(problem.into());
            }
            let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
            if drawn.window == window {
                drawn.granted = drawn.granted.saturating_add(share);
            }
        }
    }
}

/// Uses one of what was drawn in this window; `None` when nothing is left of it.
fn use_one(drawn: &Mutex<Drawn>, window: i64) -> Option<u32> {
    let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
    if drawn.window < window {
        *drawn = Drawn { window, granted: 0, used: 0 };
    }
    // The clock may differ by a moment between two requests: the later window counts for both.
    if drawn.window > window || drawn.used < drawn.granted {
        drawn.used = drawn.used.saturating_add(1);
        return Some(drawn.used);
    }
    None
}

/// Takes one request from a caller's budget and tells the answer's headers.
///
/// # Errors
/// 429.
pub(crate) async fn count(request: &HttpRequest, caller: Uuid) -> Result<()> {
    let Some(quotas) = request.app_data::<web::Data<Quotas>>().cloned() else { return Ok(()) };
    if let Some(quota) = quotas.take(caller).await? {
        request.extensions_mut().insert(quota);
    }
    Ok(())
}

//! How many requests a key or session may make: a budget over four seconds, shared by all nodes. In a call with many
//! events each counts as one.

use crate::cache::Budget;
use crate::error::{Error, Problem, Result};
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

    /// Takes requests, or events of one, from a caller's budget; `None` when there is no limit.
    ///
    /// # Errors
    /// 429 `rate_limited` with the seconds to wait.
    pub async fn take(&self, caller: Uuid, cost: u32) -> Result<Option<Quota>> {
        let limit = self.limit();
        if limit == 0 {
            return Ok(None);
        }
        let window_ms = i64::from(WINDOW_S) * 1_000;
        let now_ms = self.platform.clock.now_ms();
        let window = now_ms.div_euclid(window_ms);
        let reset_s = (window_ms - now_ms.rem_euclid(window_ms) + 999) / 1_000;
        let drawn = self.drawn.get_with(caller, Arc::default);
        loop {
            let (drawn_window, lacking) = match spend(&drawn, window, cost) {
                Ok(used) => {
                    let remaining = limit.saturating_sub(used);
                    return Ok(Some(Quota { limit, window_s: i64::from(WINDOW_S), remaining, reset_s }));
                }
                Err(lacking) => lacking,
            };
            let drawn_ms = now_ms.max(drawn_window.saturating_mul(window_ms));
            let bucket = format!("requests:{}", caller.as_simple());
            let budget = Budget { bucket: &bucket, limit, window_ms };
            let mut share = lacking.max(limit / SHARES);
            let mut granted = self.platform.cache.take(budget, share, drawn_ms).await;
            if granted.is_err() && share > lacking {
                share = lacking;
                granted = self.platform.cache.take(budget, share, drawn_ms).await;
            }
            if granted.is_err() {
                let detail = "Too many requests or events with this key; wait before the next one.";
                let mut problem = Problem::new(429, "rate_limited", detail);
                problem.retry_after_s = Some(u64::try_from(reset_s).unwrap_or(1).max(1));
                return Err(problem.into());
            }
            let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
            if drawn.window == drawn_window {
                drawn.granted = drawn.granted.saturating_add(share);
            }
        }
    }

    /// What a caller may take in one window; 0: without limit.
    fn limit(&self) -> u32 {
        self.platform.config.requests_per_key_per_second.saturating_mul(WINDOW_S)
    }
}

/// Spends of what was drawn in this window; the error is the window that counts, and what is lacking in it.
fn spend(drawn: &Mutex<Drawn>, window: i64, cost: u32) -> Result<u32, (i64, u32)> {
    let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
    // The clock may differ by a moment between two requests: then the later window counts for both. One that lies further
    // ahead was begun by a clock that has been set back since.
    if drawn.window != window && drawn.window != window + 1 {
        *drawn = Drawn { window, granted: 0, used: 0 };
    }
    let used = drawn.used.saturating_add(cost);
    if used <= drawn.granted {
        drawn.used = used;
        return Ok(used);
    }
    Err((drawn.window, used - drawn.granted))
}

/// Who pays for a request; in its extensions.
#[derive(Clone, Copy)]
struct Payer(Uuid);

/// Takes one request from a caller's budget and tells the answer's headers.
///
/// # Errors
/// 429.
pub(crate) async fn count(request: &HttpRequest, caller: Uuid) -> Result<()> {
    request.extensions_mut().insert(Payer(caller));
    charge(request, 1).await
}

/// Takes what each event of a call costs beyond the call itself.
///
/// # Errors
/// 429; 400 when so many are more than a whole window has.
pub(crate) async fn count_events(request: &HttpRequest, events: usize) -> Result<()> {
    let Some(limit) = request.app_data::<web::Data<Quotas>>().map(|quotas| quotas.limit()) else { return Ok(()) };
    let cost = u32::try_from(events.saturating_sub(1)).unwrap_or(u32::MAX);
    if limit > 0 && cost >= limit {
        return Err(Error::invalid("events", "too_long", format!("a key may send at most {limit} events in {WINDOW_S} s")));
    }
    if cost == 0 { Ok(()) } else { charge(request, cost).await }
}

async fn charge(request: &HttpRequest, cost: u32) -> Result<()> {
    let payer = request.extensions().get::<Payer>().copied();
    let (Some(Payer(caller)), Some(quotas)) = (payer, request.app_data::<web::Data<Quotas>>().cloned()) else { return Ok(()) };
    if let Some(quota) = quotas.take(caller, cost).await? {
        request.extensions_mut().insert(quota);
    }
    Ok(())
}

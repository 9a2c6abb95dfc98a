//! What the server shows of its outbox: how much is on its way, and how much waits.

use super::store;
use crate::platform::Platform;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// How often it is counted what waits, by the domain's clock.
const COUNT_EVERY_MS: i64 = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Gauges {
    counted_ms: AtomicI64,
    /// A count is under way.
    counting: Arc<AtomicBool>,
}

impl Gauges {
    /// Shows how much is on its way now and, now and then, what waits. That may be much: nobody waits for the count.
    pub(super) fn show(&self, platform: &Platform, in_flight: usize) {
        let now_ms = platform.clock.now_ms();
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("kairos_push_in_flight").set(in_flight as f64);
        let is_due = (now_ms - self.counted_ms.load(Ordering::SeqCst)).abs() >= COUNT_EVERY_MS;
        if !is_due || self.counting.swap(true, Ordering::SeqCst) {
            return;
        }
        self.counted_ms.store(now_ms, Ordering::SeqCst);
        let (database, counting) = (platform.store.clone(), Arc::clone(&self.counting));
        tokio::spawn(async move {
            match database.read(store::depth).await {
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                Ok(depth) => metrics::gauge!("kairos_push_queue_depth").set(depth as f64),
                Err(error) => tracing::warn!(%error, "what waits could not be counted"),
            }
            counting.store(false, Ordering::SeqCst);
        });
    }
}

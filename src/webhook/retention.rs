//! Deliveries are forgotten 30 days after their end.

use super::store;
use crate::clock::DAY_MS;
use crate::platform::Platform;
use crate::worker::{Hint, Progress, Worker};

/// How long ended deliveries can be looked at and sent again, in milliseconds.
pub(super) const KEPT_MS: i64 = 30 * DAY_MS;
/// How often to look, in milliseconds.
const POLL_MS: u64 = 600_000;
/// Deliveries of one step.
const BATCH: i64 = 1_000;

pub(super) fn worker(platform: &Platform) -> Worker {
    let platform = platform.clone();
    Worker::new("webhook-retention", Hint::default(), POLL_MS, move || {
        let platform = platform.clone();
        async move {
            let before_ms = platform.clock.now_ms() - KEPT_MS;
            // Looked at first: to begin to write is dearer.
            if platform.store.read(store::oldest_end).await?.is_none_or(|end_ms| end_ms >= before_ms) {
                return Ok(Progress::Idle);
            }
            let forgotten = platform.store.write_patiently(move |conn| store::prune(conn, before_ms, BATCH)).await?;
            Ok(if forgotten > 0 { Progress::More } else { Progress::Idle })
        }
    })
}

//! When to try again: the gateway's own word, else a doubling back-off with full jitter.

use super::message::Gateway;
use crate::config::Config;

/// Google asks never to retry sooner, in milliseconds.
const FCM_FLOOR_MS: i64 = 10_000;

/// What a gateway asks for is never taken as less than this, in milliseconds: one that asks for nothing, or by a clock of its
/// own, would be asked again and again.
pub const LEAST_ASKED_MS: i64 = 1_000;

/// The pauses between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// Upper end of the first pause, in milliseconds.
    pub base_ms: i64,
    /// Upper end of any pause, in milliseconds.
    pub limit_ms: i64,
    /// No pause is shorter, in milliseconds (FCM: never sooner than 10 s).
    pub floor_ms: i64,
}

impl Pauses {
    /// Those of a gateway.
    pub fn of(gateway: Gateway, config: &Config) -> Self {
        let floor_ms = match gateway {
            Gateway::Apns | Gateway::WebPush => 0,
            Gateway::Fcm => FCM_FLOOR_MS,
        };
        Self { base_ms: config.retry_base_ms, limit_ms: config.retry_limit_ms, floor_ms }
    }

    /// Milliseconds to wait after failed attempt `attempt` (1 is the first); `whim` in [0, 1) is the jitter.
    ///
    /// Neither what the gateway asked for nor the floor is ever undercut; without a word of the gateway's the pause lies
    /// anywhere between the floor and the doubled upper end, so that those who failed together do not come back together.
    pub fn after(self, attempt: i64, asked_ms: Option<i64>, whim: f64) -> i64 {
        if let Some(asked_ms) = asked_ms {
            return asked_ms.max(LEAST_ASKED_MS).max(self.floor_ms);
        }
        let doublings = u32::try_from(attempt.clamp(1, 31) - 1).unwrap_or(0);
        let upper_ms = self.base_ms.saturating_mul(1_i64 << doublings).min(self.limit_ms).max(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "pauses are far below 2^52 ms")]
        let jittered_ms = (upper_ms as f64 * whim) as i64;
        jittered_ms.max(self.floor_ms)
    }
}

//! Limits counted in this process: fixed windows, bounded in number.

use super::Budget;
use moka::sync::Cache as Map;
use std::sync::{Arc, Mutex, PoisonError};

/// Budgets by bucket name.
pub(super) struct Counters(Map<String, Arc<Mutex<Window>>>);

#[derive(Default)]
struct Window {
    start_ms: i64,
    used: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self(Map::builder().max_capacity(100_000).build())
    }
}

impl Counters {
    pub(super) fn take(&self, budget: Budget<'_>, cost: u32, now_ms: i64) -> Result<(), i64> {
        let window = self.0.get_with_by_ref(budget.bucket, Arc::default);
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        let start_ms = budget.start_ms(now_ms);
        if window.start_ms != start_ms {
            *window = Window { start_ms, used: 0 };
        }
        let used = window.used.saturating_add(cost);
        if used > budget.limit {
            return Err(budget.wait_ms(now_ms));
        }
        window.used = used;
        Ok(())
    }
}

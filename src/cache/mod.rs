//! What nodes tell each other and count together: invalidation, hints, shared limits. Never the truth.
//!
//! Without Redis, or when it is away, everything works from this process alone: slower to notice, never wrong.

mod memory;

use memory::Counters;
use std::sync::{Arc, Mutex, PoisonError};

type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// At most `limit` in each window of `window_ms`, which all begin at multiples of it.
#[derive(Debug, Clone, Copy)]
pub struct Budget<'a> {
    /// Whose budget.
    pub bucket: &'a str,
    /// How much there is in a window.
    pub limit: u32,
    /// Length of a window, in milliseconds.
    pub window_ms: i64,
}

impl Budget<'_> {
    fn start_ms(&self, now_ms: i64) -> i64 {
        now_ms - now_ms.rem_euclid(self.window_ms.max(1))
    }

    fn wait_ms(&self, now_ms: i64) -> i64 {
        self.start_ms(now_ms) + self.window_ms - now_ms
    }
}

/// Invalidation, hints and shared limits; cheap to clone.
#[derive(Clone, Default)]
pub struct Cache(Arc<Inner>);

#[derive(Default)]
struct Inner {
    listeners: Mutex<Vec<(&'static str, Listener)>>,
    counters: Counters,
}

impl Cache {
    /// Calls `listener` with the payload of every message on this topic, from this node or another.
    pub fn subscribe(&self, topic: &'static str, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((topic, Box::new(listener)));
    }

    /// Tells this node, and all others within moments, that something changed. Call it after the commit.
    pub fn publish(&self, topic: &'static str, payload: &str) {
        for (name, listener) in self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if *name == topic {
                listener(payload);
            }
        }
    }

    /// Takes `cost` from a budget.
    ///
    /// # Errors
    /// The wait in milliseconds, when the budget is used up.
    pub async fn take(&self, budget: Budget<'_>, cost: u32, now_ms: i64) -> Result<(), i64> {
        self.0.counters.take(budget, cost, now_ms)
    }
}

//! What nodes tell each other and count together: invalidation, hints, shared limits. Never the truth.
//!
//! Without Redis, or when it is away, everything works from this process alone: slower to notice, never wrong.

mod memory;

use memory::Counters;
use std::sync::{Arc, Mutex, PoisonError};

type Listener = Box<dyn Fn(&str) + Send + Sync>;

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

    /// Takes `cost` from a budget of `limit` per `window_ms`; the answer is the wait in milliseconds when it is used up.
    pub async fn take(&self, bucket: &str, cost: u32, limit: u32, window_ms: i64, now_ms: i64) -> Result<(), i64> {
        self.0.counters.take(bucket, cost, limit, window_ms, now_ms)
    }
}

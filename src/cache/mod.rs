//! What nodes tell each other and count together: invalidation, hints, shared limits. Never the truth.
//!
//! Without Redis, or when it is away, everything works from this process alone: slower to notice, never wrong. A limit
//! then is this node's share of it, never open. News that could not be heard is made up for by telling every listener
//! that anything may have changed.

mod memory;
mod remote;

use crate::config::Secret;
use crate::error::Result;
use memory::Counters;
use remote::Remote;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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
    remote: OnceLock<Remote>,
}

impl Cache {
    /// A cache that shares with the other nodes through Redis; an empty URL: with nobody. Redis need not be there, now
    /// or later. `channel` keeps systems apart that use one Redis, `node` is a name that no other process has. Call it
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When the URL cannot be read: one line that says what to set.
    pub fn open(url: &Secret, channel: String, node: String) -> Result<Self> {
        let cache = Self::default();
        if !url.expose().is_empty() {
            let (remote, loops) = Remote::prepare(url, channel, node)?;
            // The cell is new, so it takes the value.
            let _ = cache.0.remote.set(remote);
            remote::start(&Arc::downgrade(&cache.0), loops);
        }
        Ok(cache)
    }

    /// Calls `listener` with the payload of every message on this topic, from this node or another. An empty payload
    /// means that anything under this topic may have changed.
    pub fn subscribe(&self, topic: &'static str, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((topic, Box::new(listener)));
    }

    /// Tells this node at once, and all others within moments, that something changed. Call it after the commit.
    pub fn publish(&self, topic: &'static str, payload: &str) {
        self.0.hear(topic, payload);
        if let Some(remote) = self.0.remote.get() {
            remote.tell(topic, payload);
        }
    }

    /// Takes `cost` from a budget that all nodes share; from this node's part of it while Redis is away.
    ///
    /// # Errors
    /// The wait in milliseconds, when the budget is used up.
    pub async fn take(&self, budget: Budget<'_>, cost: u32, now_ms: i64) -> Result<(), i64> {
        let Some(remote) = self.0.remote.get() else { return self.0.counters.take(budget, cost, now_ms) };
        match remote.take(budget, cost, now_ms).await {
            Some(Ok(())) => {
                // Counted here too: should Redis go away now, this node knows what it has used.
                let _ = self.0.counters.take(Budget { limit: u32::MAX, ..budget }, cost, now_ms);
                Ok(())
            }
            Some(Err(wait_ms)) => Err(wait_ms),
            None => {
                let share = Budget { limit: budget.limit.div_ceil(remote.nodes()), ..budget };
                self.0.counters.take(share, cost, now_ms)
            }
        }
    }

    /// Whether budgets and news are shared right now.
    pub fn is_shared(&self) -> bool {
        self.0.remote.get().is_some_and(Remote::is_there)
    }
}

impl Inner {
    fn hear(&self, topic: &str, payload: &str) {
        for (name, listener) in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if *name == topic {
                listener(payload);
            }
        }
    }

    fn hear_everything(&self) {
        for (_, listener) in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            listener("");
        }
    }
}

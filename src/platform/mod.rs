//! What handlers and loops share: settings, database, cache, clock, ids, hints, hashing threads, and the master key.

pub mod epoch;
pub mod fence;
mod hasher;
pub mod health;
mod pairwise;
pub mod personal;
mod seal;
pub mod stopwatch;
pub mod turns;

pub use hasher::{Also, Hasher};
pub use pairwise::pairwise;
pub use seal::MasterKey;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::id::Ids;
use crate::outbound::guarded::Guarded;
use crate::store::{Conn, Store};
use crate::worker::Hint;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The shared floor on which every room stands; cheap to clone.
#[derive(Clone)]
pub struct Platform(Arc<Parts>);

/// See [`Platform`].
pub struct Parts {
    /// Settings.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// Invalidation, hints and shared limits.
    pub cache: Cache,
    /// The domain's clock.
    pub clock: Clock,
    /// Identifiers and randomness.
    pub ids: Ids,
    /// The machine's time of hops, while somebody watches.
    pub stopwatch: stopwatch::Stopwatch,
    /// Sends in flight, by user.
    pub fence: fence::Fence,
    /// Whether this node has been told to stop: a balancer should send it nothing more.
    pub leaving: AtomicBool,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// Calls URLs that somebody else chose.
    pub web: Guarded,
    /// Encrypts what is stored of gateways' credentials and private keys.
    pub master_key: MasterKey,
    /// Wakes the lanes.
    pub lane_hint: Hint,
    /// Wakes the push loop.
    pub push_hint: Hint,
    /// Wakes what works off ended messages.
    pub feedback_hint: Hint,
    /// Wakes what sends mails.
    pub mail_hint: Hint,
    /// Wakes what works on imports.
    pub import_hint: Hint,
    /// Wakes what is driven by due times: dwell, stale exits, scheduled campaigns.
    pub timer_hint: Hint,
}

impl Platform {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Writes, and tells all nodes of it as soon as it is on disk, also when the caller has gone away by then.
    ///
    /// # Errors
    /// What the closure returns; what the database says.
    pub async fn write_and_tell<T: Send + 'static>(
        &self,
        (topic, payload): (&'static str, String),
        write: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cache = self.cache.clone();
        self.store.write_then(write, move |_| cache.publish(topic, &payload)).await
    }
}

impl std::ops::Deref for Platform {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

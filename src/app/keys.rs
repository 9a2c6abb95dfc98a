//! Verified keys in memory: one look-up per key, forgotten at once when a key changes.

use super::key::{Key, KeyKind, hash, looks_like};
use super::store;
use crate::clock::MINUTE_MS;
use crate::error::{Error, Result};
use crate::id::{AppId, KeyId};
use crate::platform::Platform;
use crate::worker::{Hint, Progress, Worker};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Published after a commit that revoked, rotated or otherwise changed a key.
pub const KEYS_TOPIC: &str = "keys";
/// Most keys that are remembered; beyond it all are looked up again.
const REMEMBERED_MAX: usize = 50_000;
/// How long a key is believed without asking the database, in milliseconds: a lost message of another node costs this.
const BELIEVED_MS: i64 = MINUTE_MS;

/// A key that was found in the database.
pub struct Verified {
    /// What is known of it.
    pub key: Key,
    read_ms: i64,
    noted_ms: AtomicI64,
}

/// Looks keys up; cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    platform: Platform,
    known: RwLock<HashMap<String, Arc<Verified>>>,
    /// Counts invalidations, so that a look-up that began before one does not outlive it.
    generation: AtomicU64,
    used: Mutex<HashMap<(AppId, KeyId), i64>>,
}

impl Keys {
    /// An empty memory that listens for changes.
    pub fn open(platform: &Platform) -> Self {
        let keys = Self(Arc::new(Inner {
            platform: platform.clone(),
            known: RwLock::default(),
            generation: AtomicU64::new(0),
            used: Mutex::default(),
        }));
        let weak = Arc::downgrade(&keys.0);
        platform.cache.subscribe(KEYS_TOPIC, move |_| {
            if let Some(inner) = weak.upgrade() {
                inner.forget();
            }
        });
        keys
    }

    /// The key with this text, if it is of this kind, known, not revoked and not expired.
    ///
    /// # Errors
    /// 401, the same for every reason; what the database says.
    pub async fn verify(&self, kind: KeyKind, text: &str) -> Result<Arc<Verified>> {
        if !looks_like(kind, text) {
            return Err(refused());
        }
        let now_ms = self.0.platform.clock.now_ms();
        let secret_hash = hash(text);
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner).get(&secret_hash).cloned();
        let found = match known.filter(|k| (0..BELIEVED_MS).contains(&(now_ms - k.read_ms))) {
            Some(known) => known,
            None => self.look_up(secret_hash, now_ms).await?,
        };
        if found.key.kind != kind || !found.key.is_live(now_ms) {
            return Err(refused());
        }
        self.note(&found, now_ms);
        Ok(found)
    }

    async fn look_up(&self, secret_hash: String, now_ms: i64) -> Result<Arc<Verified>> {
        let inner = &self.0;
        let generation = inner.generation.load(Ordering::SeqCst);
        let wanted = secret_hash.clone();
        let key = inner.platform.store.read(move |conn| store::by_hash(conn, &wanted)).await?.ok_or_else(refused)?;
        let verified = Arc::new(Verified { key, read_ms: now_ms, noted_ms: AtomicI64::new(0) });
        {
            let mut known = inner.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= REMEMBERED_MAX {
                known.clear();
            }
            known.insert(secret_hash.clone(), Arc::clone(&verified));
        }
        // Asked after the insert: an invalidation either is seen here, or comes later and removes the entry itself.
        if inner.generation.load(Ordering::SeqCst) != generation {
            inner.known.write().unwrap_or_else(PoisonError::into_inner).remove(&secret_hash);
        }
        Ok(verified)
    }

    /// Remembers that a key was used, once a minute: the write comes later, for all keys together.
    fn note(&self, verified: &Verified, now_ms: i64) {
        let noted_ms = verified.noted_ms.load(Ordering::Relaxed);
        if now_ms - noted_ms < MINUTE_MS {
            return;
        }
        if verified.noted_ms.compare_exchange(noted_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.insert((verified.key.app_id, verified.key.id), now_ms);
        }
    }

    /// Writes down which keys were used.
    ///
    /// # Errors
    /// What the database says; nothing is forgotten then.
    pub async fn write_down_used(&self) -> Result<Progress> {
        let used: Vec<_> = {
            let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.iter().map(|((app_id, id), used_ms)| (*app_id, *id, *used_ms)).collect()
        };
        if !used.is_empty() {
            let rows = used.clone();
            self.0.platform.store.write(move |conn| store::touch(conn, &rows)).await?;
            let mut waiting = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|(app_id, id), used_ms| !used.contains(&(*app_id, *id, *used_ms)));
        }
        Ok(Progress::Idle)
    }

    /// The loop that writes down when keys were used.
    pub fn worker(&self) -> Worker {
        let keys = self.clone();
        Worker::new("keys", Hint::default(), 60_000, move || {
            let keys = keys.clone();
            async move { keys.write_down_used().await }
        })
    }
}

impl Inner {
    fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn refused() -> Error {
    Error::unauthorized("Send a key or token of this kind that is known, not revoked and not expired.")
}

/// The refusal of a request without the credential that its route needs: the same words as for an unknown one.
pub(super) fn missing() -> Error {
    refused()
}

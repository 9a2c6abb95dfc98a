//! Work that fails: a batch of it is tried piece by piece, and what fails alone again and again is given up, so that its
//! neighbours go on.

use super::commit::is_stale;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// How often one piece of work may fail, alone, before it is given up.
const TRIES_MAX: u32 = 3;

/// How one worker's work has fared.
pub(super) struct Care<K>(Mutex<Fared<K>>);

struct Fared<K> {
    /// How often work has failed, alone in its batch.
    tries: HashMap<K, u32>,
    /// How many of the next steps take one piece of work alone, because a batch failed.
    careful: usize,
}

impl<K> Default for Care<K> {
    fn default() -> Self {
        Self(Mutex::new(Fared { tries: HashMap::new(), careful: 0 }))
    }
}

impl<K: Copy + Eq + Hash> Care<K> {
    /// How much work the next step takes.
    pub fn appetite(&self, most: i64) -> i64 {
        let mut fared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fared.careful == 0 {
            return most;
        }
        fared.careful -= 1;
        1
    }

    /// A batch failed: its members are tried alone. The answer is whether this one, alone, has failed too often.
    ///
    /// # Errors
    /// The fault itself when it is none of the work's: the database is busy, something has changed, there was no work.
    pub fn failed(&self, batch: &[K], fault: Error) -> Result<bool> {
        if batch.is_empty() || is_stale(&fault) || matches!(fault, Error::Busy(_)) {
            return Err(fault);
        }
        tracing::error!(error = %fault, work = batch.len(), "work that decides failed");
        let mut fared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [alone] = batch else {
            fared.careful = batch.len();
            return Ok(false);
        };
        let tries = fared.tries.entry(*alone).or_default();
        *tries += 1;
        let over = *tries >= TRIES_MAX;
        if over {
            fared.tries.remove(alone);
        }
        Ok(over)
    }
}

//! Which messages this process is sending, so that those are found that are `sending` in the database alone.
//!
//! A commit whose answer is lost (the connection breaks, the database restarts) may have made messages `sending` that
//! nobody will ever hand over. Waiting for the next start to find them would hold them past their deadline.

use crate::id::MessageId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How often the database is compared, and how often while messages were let go whose commit may have taken effect.
const LOOK_EVERY_MS: u64 = 15_000;
const LOOK_SOON_MS: u64 = 1_000;
/// A commit without an answer takes effect within this time or never.
const IN_DOUBT_MS: u64 = 600_000;

/// The messages that are claimed and not settled yet; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Inner>);

#[derive(Default)]
struct Inner {
    known: Mutex<Known>,
    landed: Notify,
}

#[derive(Default)]
struct Known {
    /// How often each is aboard: a message that is to go again may be claimed before its last attempt has come down.
    aboard: HashMap<MessageId, usize>,
    /// Let go before anything left, and when that was first looked at; if the database says `sending`, the claim took
    /// effect without us.
    let_go: HashMap<MessageId, Option<i64>>,
    /// How many have come down so far.
    landings: u64,
    /// Neither aboard nor let go, yet `sending` at the last look.
    suspects: HashSet<MessageId>,
    looked_ms: i64,
}

/// One message that is being sent. Make it before the claim commits and drop it after the end is written.
pub(super) struct Aboard {
    id: MessageId,
    flights: Flights,
    underway: bool,
}

/// Why a message is `sending` in the database alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stray {
    /// Nothing of it has left.
    NeverLeft,
    /// Nobody knows.
    Unknown,
}

impl Flights {
    pub(super) fn board(&self, id: MessageId) -> Aboard {
        let mut known = self.known();
        *known.aboard.entry(id).or_default() += 1;
        // An earlier claim of it that was let go says nothing of this one.
        known.let_go.remove(&id);
        drop(known);
        Aboard { id, flights: self.clone(), underway: false }
    }

    pub(super) fn count(&self) -> usize {
        self.known().aboard.len()
    }

    /// How many have come down so far: when it has changed, what was read before may be out of date.
    pub(super) fn landings(&self) -> u64 {
        self.known().landings
    }

    pub(super) fn landed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.landed.notified()
    }

    /// Whether it is time to compare with the database.
    pub(super) fn may_look(&self, now_ms: i64) -> bool {
        let mut known = self.known();
        let every_ms = if known.let_go.is_empty() { LOOK_EVERY_MS } else { LOOK_SOON_MS };
        let due = now_ms.abs_diff(known.looked_ms) >= every_ms;
        if due {
            known.looked_ms = now_ms;
        }
        due
    }

    /// What of these, all `sending` in the database, nobody here is sending. What was never known here has to be seen
    /// twice: it may have been settled since it was read.
    pub(super) fn strays(&self, sending: &[MessageId], now_ms: i64) -> HashMap<MessageId, Stray> {
        let mut known = self.known();
        known.let_go.retain(|_, since_ms| now_ms.abs_diff(*since_ms.get_or_insert(now_ms)) < IN_DOUBT_MS);
        let mut strays = HashMap::new();
        let mut suspects = HashSet::new();
        for id in sending {
            if known.aboard.contains_key(id) {
                continue;
            }
            if known.let_go.remove(id).is_some() {
                strays.insert(*id, Stray::NeverLeft);
            } else if known.suspects.contains(id) {
                strays.insert(*id, Stray::Unknown);
            } else {
                suspects.insert(*id);
            }
        }
        known.suspects = suspects;
        strays
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Aboard {
    /// From now on its end will be written, whatever it is.
    pub(super) fn underway(&mut self) {
        self.underway = true;
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        let mut known = self.flights.known();
        if let Entry::Occupied(mut times) = known.aboard.entry(self.id) {
            *times.get_mut() -= 1;
            if *times.get() == 0 {
                times.remove();
                // While another claim of it is aboard, it is that one's.
                if !self.underway {
                    known.let_go.insert(self.id, None);
                }
            }
        }
        known.landings += 1;
        let last = known.aboard.is_empty();
        drop(known);
        if last {
            self.flights.0.landed.notify_waiters();
        }
    }
}

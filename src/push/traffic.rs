//! What is on its way on a lane, and what waits for it to come down.

use super::lane::Lane;
use super::room::EXPIRES_MS;
use super::route::Queue;
use super::share::Turn;
use crate::clock;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bulk that was seen waiting so long ago counts as waiting still, in milliseconds.
const SEEN_MS: u64 = 1_000;
/// Where something was said to one person within this time, more is expected, in milliseconds.
const LATELY_MS: u64 = 10_000;

/// See the module.
pub(super) struct Traffic {
    in_flight: AtomicUsize,
    /// How much of that is said to a large audience.
    bulk: AtomicUsize,
    /// The same of all lanes.
    all_bulk: Arc<AtomicUsize>,
    /// When more of it was seen waiting last, UTC milliseconds.
    bulk_seen_ms: AtomicI64,
    /// When slots were asked for last for what is said to one person, UTC milliseconds.
    single_ms: AtomicI64,
    /// Since when it waits for more free slots, UTC milliseconds; 0: it does not.
    waits_since_ms: AtomicI64,
    /// When passed deadlines were looked for last, by queue, UTC milliseconds.
    expired_ms: Mutex<HashMap<Queue, i64>>,
    /// When what is another key's was looked for last, in what is not bulk and in what is, UTC milliseconds.
    left_ms: [AtomicI64; 2],
}

impl Traffic {
    /// None yet, on a lane beside others that count what is said to many together.
    pub(super) fn beside(all_bulk: &Arc<AtomicUsize>) -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            bulk: AtomicUsize::new(0),
            all_bulk: Arc::clone(all_bulk),
            bulk_seen_ms: AtomicI64::new(i64::MIN),
            single_ms: AtomicI64::new(i64::MIN),
            waits_since_ms: AtomicI64::new(0),
            expired_ms: Mutex::default(),
            left_ms: [const { AtomicI64::new(0) }; 2],
        }
    }

    /// How many messages are claimed and not answered yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// How much of that is said to a large audience.
    pub(super) fn bulk(&self) -> usize {
        self.bulk.load(Ordering::SeqCst)
    }

    /// Whether to wait for more free slots: for so long and no longer, by then some of what is in flight should have been
    /// answered.
    pub(super) fn waits_for_more(&self, now_ms: i64, patience_ms: i64) -> bool {
        let begun = self.waits_since_ms.compare_exchange(0, now_ms, Ordering::SeqCst, Ordering::SeqCst);
        begun.err().is_none_or(|since_ms| clock::is_ahead(since_ms + patience_ms, now_ms, patience_ms))
    }

    pub(super) fn waits_no_longer(&self) {
        self.waits_since_ms.store(0, Ordering::SeqCst);
    }

    /// Whether it is time to look for what is another key's: once a second, and at once where there was some.
    pub(super) fn may_leave(&self, bulk: bool, now_ms: i64) -> bool {
        let [single, many] = &self.left_ms;
        let left_ms = if bulk { many } else { single };
        let due = now_ms.abs_diff(left_ms.load(Ordering::SeqCst)) >= 1_000;
        if due {
            left_ms.store(now_ms, Ordering::SeqCst);
        }
        due
    }

    /// There was some.
    pub(super) fn leaves(&self, bulk: bool) {
        let [single, many] = &self.left_ms;
        if bulk { many } else { single }.store(0, Ordering::SeqCst);
    }

    /// Whether it is time to look for passed deadlines in a queue that does not move: once a second, and not at once, for most
    /// soon move again ([`Traffic::moves`]). A server that starts on a long queue would walk all of it while its first
    /// connection is on its way.
    pub(super) fn may_expire(&self, queue: &Queue, now_ms: i64) -> bool {
        let mut all = self.expired_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let last_ms = all.entry(queue.clone()).or_insert(now_ms);
        let due = now_ms.abs_diff(*last_ms) >= EXPIRES_MS.unsigned_abs();
        if due {
            *last_ms = now_ms;
        }
        due
    }

    /// There may be more of it: that is looked for at once.
    pub(super) fn expires_more(&self, queue: &Queue, now_ms: i64) {
        let mut all = self.expired_ms.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(queue.clone(), now_ms - EXPIRES_MS);
    }

    /// A queue moves: when it stops the next time, that is new.
    pub(super) fn moves(&self, queue: &Queue) {
        self.expired_ms.lock().unwrap_or_else(PoisonError::into_inner).remove(queue);
    }

    /// Says that bulk waits.
    pub(super) fn bulk_waits(&self, now_ms: i64) {
        self.bulk_seen_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Says that slots are asked for, for what is said to one person.
    pub(super) fn single_asks(&self, now_ms: i64) {
        self.single_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Whose turn it is when bulk asks for slots, or what is not.
    pub(super) fn turn(&self, bulk: bool, now_ms: i64) -> Turn {
        Turn {
            bulk,
            singles: self.single_ms.load(Ordering::Relaxed).abs_diff(now_ms) < LATELY_MS,
            bulk_in_flight: self.bulk(),
            bulk_waits: self.bulk_seen_ms.load(Ordering::Relaxed).abs_diff(now_ms) < SEEN_MS,
        }
    }
}

/// A message's place on a lane, from its claim to its gateway's answer.
pub(super) struct Ride {
    lane: Arc<Lane>,
    bulk: bool,
}

impl Ride {
    pub(super) fn begin(lane: &Arc<Lane>, bulk: bool) -> Self {
        lane.traffic.in_flight.fetch_add(1, Ordering::SeqCst);
        lane.traffic.bulk.fetch_add(usize::from(bulk), Ordering::SeqCst);
        lane.traffic.all_bulk.fetch_add(usize::from(bulk), Ordering::SeqCst);
        Self { lane: Arc::clone(lane), bulk }
    }
}

impl Deref for Ride {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.lane
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        self.lane.traffic.bulk.fetch_sub(usize::from(self.bulk), Ordering::SeqCst);
        self.lane.traffic.all_bulk.fetch_sub(usize::from(self.bulk), Ordering::SeqCst);
        self.lane.traffic.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

//! The machine's own time of each hop of a story, kept only while somebody watches.
//!
//! Hops that are stored are times of the domain's clock; in a replay that clock is the recording's, and says nothing of
//! how fast this program is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use uuid::Uuid;

/// What is timed, and whose id it is timed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    /// A decision is on disk.
    Decided,
    /// A message was handed over to its gateway's connection.
    HandedOver,
    /// The gateway's answer to a message was read.
    Answered,
}

/// Nobody watches until [`Stopwatch::start`]; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stopwatch(Arc<OnceLock<Mutex<HashMap<(Hop, Uuid), Instant>>>>);

impl Stopwatch {
    /// From now on every lap is kept: for a program that ends, not for a server that runs for months.
    pub fn start(&self) {
        self.0.get_or_init(Mutex::default);
    }

    /// Notes that a hop is done now; of several attempts the last counts.
    pub fn lap(&self, hop: Hop, ids: impl IntoIterator<Item = Uuid>) {
        let Some(laps) = self.0.get() else { return };
        let now = Instant::now();
        laps.lock().unwrap_or_else(PoisonError::into_inner).extend(ids.into_iter().map(|id| ((hop, id), now)));
    }

    /// When a hop was done, if it was and somebody watched.
    pub fn at(&self, hop: Hop, id: Uuid) -> Option<Instant> {
        self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).get(&(hop, id)).copied()
    }
}

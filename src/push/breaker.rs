//! When to stop knocking: a gateway that fails push after push is left alone for a while, then asked with a single one. Pure.
//!
//! What counts is that it does not do its work: answers from 500 on, pushes that it never answers, connections that cannot
//! be made. A refusal is the answer of a gateway that works. Nothing is lost by a breaker that is open: what waits goes when
//! the gateway is back, or expires at its deadline.
//!
//! [`Health`](super::health::Health) asks something else: whether the tokens are wrong, or we. There one push goes out at a
//! time as well, but the gateway works, and the reason is the app's to mend.

use super::verdict::Reason;
use crate::clock::is_ahead;

/// So many failures in a row, with no success in between, open it.
pub const ROW: u32 = 20;
/// The first pause, in milliseconds; it doubles with every failed probe.
pub const FIRST_MS: i64 = 1_000;
/// The longest pause, in milliseconds.
pub const LONGEST_MS: i64 = 60_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    row: u32,
    open: Option<Open>,
}

/// A breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The word of the last failure.
    pub reason: Reason,
    /// Since when, UTC milliseconds.
    pub since_ms: i64,
    /// Nothing goes out before this time, UTC milliseconds; from then on one push at a time, until one is answered.
    pub until_ms: i64,
    pause_ms: i64,
}

impl Breaker {
    /// The gateway has answered. What was open until now is closed.
    pub fn worked(&mut self) -> Option<Open> {
        self.row = 0;
        self.open.take()
    }

    /// The gateway has failed with something that was begun at `begun_ms`. Answers what is open since, or for longer, by
    /// this failure.
    pub fn failed(&mut self, reason: &Reason, (begun_ms, now_ms): (i64, i64)) -> Option<&Open> {
        self.row = self.row.saturating_add(1);
        let pause_ms = match &self.open {
            None if self.row < ROW => return None,
            None => FIRST_MS,
            // It was on its way already when the breaker opened: no news.
            Some(open) if is_ahead(open.until_ms, begun_ms, LONGEST_MS) => return None,
            Some(open) => (open.pause_ms * 2).min(LONGEST_MS),
        };
        let since_ms = self.open.as_ref().map_or(now_ms, |open| open.since_ms);
        Some(self.open.insert(Open { reason: reason.clone(), since_ms, until_ms: now_ms + pause_ms, pause_ms }))
    }

    /// What is open, whether its pause is over or not.
    pub fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Until when nothing goes out, UTC milliseconds; none while it is closed or may be probed.
    pub fn until_ms(&self, now_ms: i64) -> Option<i64> {
        self.open.as_ref().map(|open| open.until_ms).filter(|until_ms| is_ahead(*until_ms, now_ms, LONGEST_MS))
    }
}

//! How much of what is said to many is in flight while moments are being decided. Pure.
//!
//! A moment and a campaign share more than slots: the processors, the database's writer, the threads between them. How long
//! it takes to decide a moment shows whether the campaign leaves it enough of all that, whatever the machine. While that is
//! several times what it takes in quiet, the campaign is given half as much in flight, again and again; then more, bit by
//! bit. A campaign begins with little: else the first moment would find out what is too much. Where moments have come lately
//! it stays with that for a while; where none have, it has twice as much every few milliseconds, and soon, as after a while
//! on a machine with room for both, nothing is held back.

use std::time::Duration;

/// Never less than this.
pub const FLOOR: usize = 32;
/// So much at first.
pub const START: usize = 64;
/// How long until it is twice as much, where there are no moments.
const DOUBLES: Duration = Duration::from_millis(10);
/// From here on nothing is held back: more than a server has in flight unless it is told to.
const UNFELT: usize = 2_048;
/// Moments within this time are lately.
const LATELY: Duration = Duration::from_secs(10);
/// A campaign that follows none for so long begins.
const QUIET: Duration = Duration::from_secs(1);
/// A decision within this time is never late.
pub const LATE: Duration = Duration::from_millis(5);
/// One is late that takes more than so many times what is usual.
const TIMES_USUAL: f64 = 3.0;
/// What is taken for usual before anything is known, in seconds.
const USUAL_S: f64 = 0.005;
/// Weight of one decision in what is usual: in quiet, and where all that can be held back is held back and it is late still.
const QUIET_SHARE: f64 = 1.0 / 8.0;
const FLOOR_SHARE: f64 = 1.0 / 64.0;
/// So many are decided in the time of one: what they share weighs most.
const TOGETHER: usize = 8;
/// What is held back acts after a while.
const PAUSE: Duration = Duration::from_millis(20);
/// How long nothing is late before more is given.
const EASE: Duration = Duration::from_millis(500);

/// See the module; times are by a clock that only goes forward, since some beginning.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How much of it may be in flight on a lane; none: whatever the lane bears.
    limit: Option<usize>,
    /// How long a decision takes in quiet, in seconds.
    usual_s: f64,
    changed_at: Duration,
    /// When something was decided last.
    decided_at: Option<Duration>,
    /// When any of it was there last.
    bulk_at: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { limit: None, usual_s: USUAL_S, changed_at: Duration::ZERO, decided_at: None, bulk_at: None }
    }
}

impl Pace {
    /// So many moments were decided together within this time, while so much of what is said to many was in flight.
    pub fn decided(&mut self, (many, took): (usize, Duration), in_flight: usize, at: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let took_s = took.as_secs_f64() * TOGETHER as f64 / many.max(TOGETHER) as f64;
        let begins = !self.is_lately(at) || self.is_quiet(in_flight, at);
        self.decided_at = Some(at);
        if begins {
            (self.limit, self.changed_at) = (Some(START), at);
        }
        if in_flight < FLOOR {
            self.usual_s += (took_s - self.usual_s) * QUIET_SHARE;
            return;
        }
        let late = took_s > LATE.as_secs_f64() && took_s > self.usual_s * TIMES_USUAL;
        if !late || at < self.changed_at + PAUSE {
            return;
        }
        let limit = self.limit(in_flight, at).unwrap_or(in_flight).min(in_flight);
        if limit <= FLOOR {
            self.usual_s += (took_s - self.usual_s) * FLOOR_SHARE;
        } else {
            (self.limit, self.changed_at) = (Some((limit / 2).max(FLOOR)), at);
        }
    }

    /// Something is said to many, while so much of it is in flight: how much of it may be on a lane; none: whatever the lane
    /// bears.
    pub fn limit(&mut self, in_flight: usize, at: Duration) -> Option<usize> {
        let (begins, lately) = (self.is_quiet(in_flight, at), self.is_lately(at));
        self.bulk_at = Some(at);
        if begins {
            (self.limit, self.changed_at) = (Some(START), at);
        }
        let ease = if lately { EASE } else { DOUBLES };
        while let Some(limit) = self.limit
            && at >= self.changed_at + ease
        {
            let more = if lately { limit / 4 } else { limit };
            self.limit = Some(limit + more).filter(|limit| *limit < UNFELT);
            self.changed_at += ease;
        }
        self.limit
    }

    /// Whether there was no campaign just now: one that comes begins. One whose gateway takes its time is still there.
    fn is_quiet(&self, in_flight: usize, at: Duration) -> bool {
        in_flight < FLOOR && self.bulk_at.is_none_or(|last| at >= last + QUIET)
    }

    fn is_lately(&self, at: Duration) -> bool {
        self.decided_at.is_some_and(|last| at <= last + LATELY)
    }
}

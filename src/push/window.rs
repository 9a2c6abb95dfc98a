//! How much a gateway bears at once: pushes in flight on a lane, beside what the gateway's own settings allow. Pure.
//!
//! The window begins wide open and shrinks on clear signs only: answers that come late both in themselves and by what is
//! usual here, and pushes that are never answered. It shrinks once per round trip at most, for what was handed over before
//! says nothing of the smaller window. A push of a full window that is answered in time widens it by one. What stays slow
//! becomes the usual: then waiting for better times would only waste what the gateway can do.

use std::time::Duration;

/// Never narrower than this, or than the lane's whole width.
pub const FLOOR: usize = 8;
/// An answer within this time is never late: a busy machine of ours must not cost throughput.
pub const LATE: Duration = Duration::from_millis(500);
/// An answer is late when it takes more than so many times what is usual.
const TIMES_USUAL: u32 = 3;
/// Weight of one answer in what is usual: one that came in time, and one that was late.
const TIMELY_SHARE: f64 = 1.0 / 16.0;
const LATE_SHARE: f64 = 1.0 / 32.0;

/// See the module.
#[derive(Debug, Clone)]
pub struct Window {
    limit: usize,
    ceiling: usize,
    /// How long an answer takes as a rule, in seconds; 0: nobody knows.
    usual_s: f64,
    /// Whether it kept something back since it was widened last.
    felt: bool,
    /// Answers in time since then.
    timely: usize,
    shrunk_at: Option<Duration>,
}

/// One push and its answer, by a clock that only goes forward: since some beginning.
#[derive(Debug, Clone, Copy)]
pub struct Flight {
    /// When it was handed over.
    pub left: Duration,
    /// When it was answered, or given up.
    pub landed: Duration,
    /// How many slots there were at that time: a wider window was none.
    pub slots: usize,
}

impl Window {
    /// Wide open.
    pub fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self { limit: ceiling, ceiling, usual_s: 0.0, felt: false, timely: 0, shrunk_at: None }
    }

    /// How many pushes may be in flight.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many pushes may go beside those in flight; `wanted` are asked for.
    pub fn room(&mut self, wanted: usize, in_flight: usize) -> usize {
        let room = self.limit.saturating_sub(in_flight);
        self.felt |= room < wanted;
        room
    }

    /// An answer has come, whatever it says. Answers whether the window has shrunk.
    pub fn answered(&mut self, flight: Flight) -> bool {
        let took = flight.landed.saturating_sub(flight.left);
        let late = took > LATE && self.usual_s > 0.0 && took.as_secs_f64() > self.usual_s * f64::from(TIMES_USUAL);
        if late {
            let shrinks = self.shrink(flight, |limit| limit - limit.div_ceil(10));
            if shrinks {
                self.learn(took, LATE_SHARE);
            }
            return shrinks;
        }
        self.learn(took, TIMELY_SHARE);
        if self.felt && self.limit < self.ceiling {
            self.timely += 1;
            if self.timely >= self.limit {
                (self.limit, self.timely, self.felt) = (self.limit + 1, 0, false);
            }
        }
        false
    }

    /// No answer has come in time. Answers whether the window has shrunk.
    pub fn timed_out(&mut self, flight: Flight) -> bool {
        self.shrink(flight, |limit| limit / 2)
    }

    fn learn(&mut self, took: Duration, share: f64) {
        let took_s = took.as_secs_f64();
        self.usual_s = if self.usual_s > 0.0 { self.usual_s + (took_s - self.usual_s) * share } else { took_s };
    }

    fn shrink(&mut self, flight: Flight, to: impl FnOnce(usize) -> usize) -> bool {
        if self.shrunk_at.is_some_and(|at| flight.left < at) {
            return false;
        }
        let floor = FLOOR.min(self.ceiling);
        let held = self.limit.min(flight.slots.max(floor));
        self.limit = to(held).max(floor);
        (self.timely, self.shrunk_at) = (0, Some(flight.landed));
        true
    }
}

//! What follows from one attempt: delivered, again after a pause, or given up; and what it says of the endpoint. Pure.

use crate::clock::{DAY_MS, HOUR_MS, MINUTE_MS};

/// Pauses after each failed attempt of the schedule, in milliseconds; together a little over three days.
const PAUSES_MS: [i64; 9] =
    [5_000, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS, 14 * HOUR_MS, 20 * HOUR_MS, 24 * HOUR_MS];
/// Attempts of one schedule.
pub const ATTEMPTS_MAX: i64 = 10;
/// A pause is up to this share longer, so that those who failed together do not come back together.
const JITTER: f64 = 0.1;
/// How long an endpoint that is overrun is left alone when it names no time, in milliseconds.
const THROTTLE_MS: i64 = 30_000;
/// How long an endpoint may fail without a success before it is disabled, in milliseconds.
pub(super) const FAILING_MAX_MS: i64 = 5 * DAY_MS;

/// What came of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The status that was answered.
    pub status: Option<u16>,
    /// Why there is no whole answer.
    pub failure: Option<&'static str>,
    /// How long the endpoint asks to be left alone, in milliseconds.
    pub asked_ms: Option<i64>,
}

impl Heard {
    /// A failure in one word; none when it was delivered. The status decides, whatever became of the body.
    pub fn failure(self) -> Option<&'static str> {
        match self.status {
            Some(200..=299) => None,
            Some(300..=399) => Some("redirect"),
            Some(410) => Some("gone"),
            Some(_) => Some("refused"),
            None => self.failure.or(Some("unknown")),
        }
    }
}

/// What to do with a delivery after an attempt, and with its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The endpoint has it.
    Delivered,
    /// It failed.
    Failed {
        /// Try again after so many milliseconds; none: given up.
        again_ms: Option<i64>,
        /// Nothing goes to the endpoint for so many milliseconds.
        throttle_ms: Option<i64>,
        /// The endpoint wants nothing any more.
        gone: bool,
    },
}

/// Judges attempt `tries` of a schedule (1 is the first); `whim` in [0, 1) is the jitter.
pub fn judge(heard: Heard, tries: i64, whim: f64) -> Next {
    if heard.failure().is_none() {
        return Next::Delivered;
    }
    let gone = heard.status == Some(410);
    let overrun = matches!(heard.status, Some(429 | 502 | 504)) || heard.asked_ms.is_some();
    Next::Failed {
        again_ms: pause_ms(tries, whim).filter(|_| !gone).map(|pause_ms| pause_ms.max(heard.asked_ms.unwrap_or(0))),
        throttle_ms: overrun.then(|| heard.asked_ms.unwrap_or(0).max(THROTTLE_MS)),
        gone,
    }
}

/// The pause after failed attempt `tries` in milliseconds; none after the last.
pub fn pause_ms(tries: i64, whim: f64) -> Option<i64> {
    let pause_ms = *PAUSES_MS.get(usize::try_from(tries - 1).unwrap_or(0)).filter(|_| tries < ATTEMPTS_MAX)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a day has fewer than 2^52 ms")]
    let longer_ms = (pause_ms as f64 * JITTER * whim) as i64;
    Some(pause_ms + longer_ms)
}

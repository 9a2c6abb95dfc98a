//! How fast a recording plays, and the clock that follows it.

use crate::clock::Clock;
use crate::error::{Error, Result};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Events within so much of the recording go out together at maximum speed, in milliseconds.
const SLICE_MS: i64 = 5_000;
/// How often the clock is moved when it runs N-fold.
const TICK: Duration = Duration::from_millis(10);

/// The speed of a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// N seconds of the recording in each second; 1 is as recorded, by the machine's own clock.
    Fold(f64),
    /// As fast as it goes; the clock jumps from one slice to the next when all work is done.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(n) if (0.01..=100_000.0).contains(&n) => Ok(Self::Fold(n)),
            _ => Err("expected `max` or a number between 0.01 and 100000".to_owned()),
        }
    }
}

impl Speed {
    /// Whether the recording is followed by a clock of its own instead of the machine's.
    pub(crate) fn has_own_clock(self) -> bool {
        self != Self::Fold(1.0)
    }
}

/// Cuts times (sorted) into slices: the end of each as an index into them.
pub(crate) fn slices(times_ms: &[i64], most: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    for (n, time_ms) in times_ms.iter().enumerate() {
        if n > start && (time_ms - times_ms[start] >= SLICE_MS || n - start >= most) {
            ends.push(n);
            start = n;
        }
    }
    if start < times_ms.len() {
        ends.push(times_ms.len());
    }
    ends
}

/// Moves a hand clock N-fold from where it stands, until the task is dropped.
pub(crate) fn run_clock(clock: Clock, fold: f64) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let (start_ms, started) = (clock.now_ms(), Instant::now());
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a replay fit in an i64 for ages")]
            let elapsed_ms = (started.elapsed().as_secs_f64() * 1_000.0 * fold) as i64;
            clock.set(start_ms + elapsed_ms);
        }
    })
}

/// A clock for this speed that stands at the recording's first event.
///
/// # Errors
/// When the recording is empty.
pub(crate) fn clock_for(speed: Speed, first_ms: Option<i64>) -> Result<Clock> {
    let first_ms = first_ms.ok_or_else(|| Error::broken("the recording is empty"))?;
    Ok(if speed.has_own_clock() { Clock::at(first_ms) } else { Clock::system() })
}

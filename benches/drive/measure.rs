//! How figures are taken: interleaved pairs A B A B, the median of the pairs' ratios, CPU beside wall time.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Fewest pairs behind a ratio.
pub const PAIRS_MIN: usize = 5;

/// What one run of something cost.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How many operations it did.
    pub operations: f64,
    /// How long it took.
    pub wall: Duration,
    /// Processor time of this process (and of the children it waited for, where they did the work).
    pub cpu: Duration,
}

impl Sample {
    /// Operations per second of wall time.
    pub fn per_second(&self) -> f64 {
        self.operations / self.wall.as_secs_f64()
    }

    /// Microseconds of processor time per operation.
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.operations
    }
}

/// Times a closure that says how many operations it did.
pub fn sample(work: impl FnOnce() -> f64) -> Sample {
    let (cpu, started) = (cpu_time(), Instant::now());
    let operations = work();
    Sample { operations, wall: started.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
}

/// Processor time of this process so far: user and system, all threads. Ticks of 10 ms, so runs should last a second.
pub fn cpu_time() -> Duration {
    cpu_time_of("self")
}

/// Processor time of another process so far.
pub fn cpu_time_of(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in brackets may hold blanks; the fields after it are numbered from 3 (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Ours against a yardstick, measured in turns.
pub struct Pairs {
    ours: Vec<Sample>,
    yardstick: Vec<Sample>,
}

impl Pairs {
    /// Runs ours and the yardstick in turns, `pairs` times each.
    pub fn take(pairs: usize, mut ours: impl FnMut() -> Sample, mut yardstick: impl FnMut() -> Sample) -> Self {
        let mut taken = Self { ours: Vec::new(), yardstick: Vec::new() };
        for _ in 0..pairs.max(PAIRS_MIN) {
            taken.yardstick.push(yardstick());
            taken.ours.push(ours());
        }
        taken
    }

    /// The median of ours per second ÷ yardstick per second, pair by pair.
    pub fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.yardstick).map(|(a, b)| a.per_second() / b.per_second()).collect())
    }

    /// The figures as JSON: ratio, rates, CPU per operation, aim.
    pub fn json(&self, aim: &str) -> Value {
        let of = |samples: &[Sample], f: fn(&Sample) -> f64| round(median(samples.iter().map(f).collect()));
        json!({
            "aim": aim,
            "ratio": round(self.ratio()),
            "ours_per_s": of(&self.ours, Sample::per_second),
            "yardstick_per_s": of(&self.yardstick, Sample::per_second),
            "ours_cpu_us": of(&self.ours, Sample::cpu_us),
            "yardstick_cpu_us": of(&self.yardstick, Sample::cpu_us),
            "pairs": self.ours.len(),
        })
    }
}

/// The middle value; of an even number the lower one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which this share of all lies.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the values")]
    let n = ((values.len() as f64 - 1.0) * share).round() as usize;
    values.get(n).copied().unwrap_or(f64::NAN)
}

/// Four significant digits are more than a shared machine gives.
pub fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

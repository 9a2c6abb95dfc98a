//! A project's quota: a bucket that all lanes of the project draw from, and the slow start of what is large.
//!
//! Google counts messages per project in windows whose beginning it does not tell. So that no window of a minute ever
//! holds more than the quota, 98 % of it flow in per minute and 2 % are all that can gather. Google also asks not to jump
//! from nothing to full speed: while more is asked for than flows, the flow grows from a sixtieth to the whole within the
//! time of the ramp, and sinks again as slowly. What is small never notices: some hundreds go at once.
//!
//! A part of what has gathered is kept for single pushes, so that a campaign does not take a moment's turn.

use crate::clock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A minute's quota in seconds, and the part that flows in per second.
const FLOW_SHARE: f64 = 0.98 / 60.0;
const GATHERED_SHARE: f64 = 0.02;
/// What can gather at the slow start's beginning.
const SMALL: f64 = 1_000.0;
/// The part of what can gather that is kept for single pushes.
const KEPT_SHARE: f64 = 0.05;
/// A batch is worth a transaction when it holds what flows in within this many seconds.
const WORTH_S: f64 = 0.05;
/// How long a wish for more counts, in seconds.
const HUNGRY_S: f64 = 1.0;
/// So many refusals in a row are about the project, not about one device or topic.
const STREAK: u32 = 10;
/// From so many buckets on those that nobody draws from are forgotten.
const KNOWN_MAX: usize = 10_000;
/// Longest pause after that, in milliseconds, and the one when Google does not say how long.
const PAUSE_LIMIT_MS: i64 = 600_000;
const PAUSE_MS: i64 = 60_000;

/// How much, and how fast at first.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Messages per minute and project; 0: no limit.
    pub per_minute: u32,
    /// From a sixtieth of the flow to the whole, in seconds; 0: the whole at once.
    pub ramp_s: u32,
}

/// One project's bucket.
pub struct Quota {
    rates: Rates,
    state: Mutex<State>,
}

struct State {
    level: f64,
    flow: f64,
    at_ms: i64,
    hungry: bool,
    streak: u32,
    paused_until_ms: i64,
}

impl Quota {
    /// A full bucket.
    pub fn new(rates: Rates, now_ms: i64) -> Self {
        let mut quota = Self {
            rates,
            state: Mutex::new(State { level: 0.0, flow: 0.0, at_ms: now_ms, hungry: false, streak: 0, paused_until_ms: 0 }),
        };
        let flow = if rates.ramp_s == 0 { quota.peak() } else { quota.peak() / 60.0 };
        let level = quota.room(flow);
        if let Ok(state) = quota.state.get_mut() {
            (state.flow, state.level) = (flow, level);
        }
        quota
    }

    /// Takes up to `n`, of a claim or of what is said to `many`, which leave some for single ones; give back what is not used.
    pub fn take(&self, (n, many): (usize, bool), now_ms: i64) -> usize {
        let mut state = self.filled(now_ms);
        if clock::is_ahead(state.paused_until_ms, now_ms, PAUSE_LIMIT_MS) {
            return 0;
        }
        if self.rates.per_minute == 0 {
            return n;
        }
        let kept = if many || n > 1 { self.kept(&state) } else { 0.0 };
        let there = whole(state.level - kept);
        let worth = if n > 1 { whole(state.flow * WORTH_S).clamp(1, n) } else { 1 };
        if n > 1 {
            state.hungry = there < n;
        }
        if there < worth {
            return 0;
        }
        let taken = there.min(n);
        state.level -= float(taken);
        taken
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&self, n: usize) {
        self.state().level += float(n);
    }

    /// When there is something again, UTC milliseconds; `None` when there is now.
    pub fn empty_until_ms(&self, now_ms: i64) -> Option<i64> {
        let state = self.filled(now_ms);
        if clock::is_ahead(state.paused_until_ms, now_ms, PAUSE_LIMIT_MS) {
            return Some(state.paused_until_ms);
        }
        if self.rates.per_minute == 0 {
            return None;
        }
        let missing = (state.flow * WORTH_S).max(1.0) + self.kept(&state) - state.level;
        if missing <= 0.0 || state.flow <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a wait of seconds")]
        let wait_ms = (missing / state.flow * 1_000.0).ceil() as i64;
        Some(now_ms + wait_ms.max(1))
    }

    /// Google took a message.
    pub fn accepted(&self) {
        self.state().streak = 0;
    }

    /// Google refused a message for a rate. Many in a row: the project's own is used up, and all wait.
    pub fn exceeded(&self, after_ms: Option<i64>, now_ms: i64) {
        let mut state = self.state();
        state.streak = state.streak.saturating_add(1);
        if state.streak >= STREAK {
            state.paused_until_ms = now_ms + after_ms.unwrap_or(PAUSE_MS).clamp(1_000, PAUSE_LIMIT_MS);
            state.streak = 0;
            state.level = 0.0;
        }
    }

    fn peak(&self) -> f64 {
        f64::from(self.rates.per_minute) * FLOW_SHARE
    }

    /// What can gather while so much flows.
    fn room(&self, flow: f64) -> f64 {
        let whole = f64::from(self.rates.per_minute) * GATHERED_SHARE;
        let part = if self.peak() > 0.0 { flow / self.peak() } else { 1.0 };
        (whole * part).max(SMALL.min(whole)).max(1.0)
    }

    fn kept(&self, state: &State) -> f64 {
        (self.room(state.flow) * KEPT_SHARE).floor()
    }

    fn filled(&self, now_ms: i64) -> MutexGuard<'_, State> {
        let mut state = self.state();
        #[expect(clippy::cast_precision_loss, reason = "times between two calls are far below 2^52 ms")]
        let passed_s = (now_ms - state.at_ms).max(0) as f64 / 1_000.0;
        // A step back of the clock fills nothing and holds nothing up.
        state.at_ms = now_ms;
        let (peak, before) = (self.peak(), state.flow);
        if self.rates.ramp_s > 0 {
            let slope = peak / f64::from(self.rates.ramp_s);
            // Whoever wanted more and does not come back within a second has had enough.
            let grew_s = if state.hungry { passed_s.min(HUNGRY_S) } else { 0.0 };
            let grown = (before + slope * grew_s).min(peak);
            state.flow = (grown - slope * (passed_s - grew_s)).max(peak / 60.0);
            state.hungry &= passed_s < HUNGRY_S;
        }
        let room = self.room(state.flow);
        if state.level < room {
            state.level = (state.level + f64::midpoint(before, state.flow) * passed_s).min(room);
        }
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below zero, and far below 2^52")]
fn whole(amount: f64) -> usize {
    amount.max(0.0).floor() as usize
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(n: usize) -> f64 {
    n as f64
}

/// The buckets of this process, by project.
pub struct Quotas {
    rates: Rates,
    known: Mutex<HashMap<String, Arc<Quota>>>,
}

impl Quotas {
    /// No bucket yet; all will be of this size.
    pub fn new(rates: Rates) -> Self {
        Self { rates, known: Mutex::default() }
    }

    /// The bucket that this account draws from. Whoever merely writes a project's name into a key file of their own gets a
    /// bucket of their own: an account's address tells which project it is of.
    pub fn of(&self, project_id: &str, client_email: &str, now_ms: i64) -> Arc<Quota> {
        let own = client_email.strip_suffix(".iam.gserviceaccount.com").and_then(|rest| rest.split_once('@'));
        let name = match own {
            Some((_, project)) if project == project_id => project_id.to_owned(),
            Some(_) | None => format!("{project_id} {client_email}"),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // What nobody draws from any more begins anew.
        if known.len() >= KNOWN_MAX {
            known.retain(|_, quota| Arc::strong_count(quota) > 1);
        }
        Arc::clone(known.entry(name).or_insert_with(|| Arc::new(Quota::new(self.rates, now_ms))))
    }
}

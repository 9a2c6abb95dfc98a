//! What an offer is worth at an age: the four curves, the clock skew that counts as now, and the deadline. Pure.

use crate::campaign::{Curve, DeliverBy};
use crate::clock::MINUTE_MS;
use serde::{Deserialize, Serialize};

/// How far in the future an event may lie and still count as age 0, inclusive.
pub const SKEW_MS: i64 = 5 * MINUTE_MS;

/// When a moment opened and how its value falls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The event's `occurred_at`.
    pub opened_ms: i64,
    /// How long the moment lasts.
    pub window_ms: i64,
    /// How its value falls.
    pub curve: Curve,
}

/// Which of two limits set a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The moment closes.
    Closes,
    /// The offer's `deliver_by`.
    DeliverBy,
}

impl Span {
    /// When the moment closes: counted from `occurred_at`, so that lateness eats the window.
    pub fn closes_ms(&self) -> i64 {
        self.opened_ms.saturating_add(self.window_ms)
    }

    /// The factor in [0, 1] at an instant; an event from the (near) future has age 0.
    pub fn factor_at(&self, at_ms: i64) -> f64 {
        let age_ms = at_ms.saturating_sub(self.opened_ms).max(0);
        factor(&self.curve, self.window_ms, age_ms)
    }

    /// `base_value × factor`.
    pub fn value_at(&self, base_value: f64, at_ms: i64) -> f64 {
        base_value * self.factor_at(at_ms)
    }

    /// The deadline: min(moment closes, offer `deliver_by`), and which of them it is.
    pub fn deadline_ms(&self, deliver_by: Option<DeliverBy>) -> (i64, Limit) {
        let closes_ms = self.closes_ms();
        let Some(by_ms) = deliver_by.map(|by| by.due_ms(self.opened_ms)) else { return (closes_ms, Limit::Closes) };
        if by_ms < closes_ms { (by_ms, Limit::DeliverBy) } else { (closes_ms, Limit::Closes) }
    }
}

/// The factor of a curve at an age, 0 from the end of the window on.
#[expect(clippy::cast_precision_loss, reason = "ages and windows are far below 2^53 milliseconds")]
pub fn factor(curve: &Curve, window_ms: i64, age_ms: i64) -> f64 {
    if age_ms >= window_ms {
        return 0.0;
    }
    match curve {
        Curve::Flat => 1.0,
        Curve::Linear => 1.0 - age_ms as f64 / window_ms as f64,
        Curve::HalfLife(half_life) => (-(age_ms as f64) / half_life.h_ms.max(1) as f64).exp2(),
        Curve::Steps(steps) => steps.iter().find(|s| age_ms < s.until_ms).map_or(0.0, |s| s.factor),
    }
}

/// Whether an event lies too far in the future to be acted on.
pub fn from_the_future(occurred_ms: i64, received_ms: i64) -> bool {
    occurred_ms.saturating_sub(received_ms) > SKEW_MS
}

/// Whether an event is too old for its type; exactly the maximum is still useful.
pub fn too_old(occurred_ms: i64, now_ms: i64, max_useful_age_ms: Option<i64>) -> bool {
    max_useful_age_ms.is_some_and(|max_ms| now_ms.saturating_sub(occurred_ms) > max_ms)
}

//! When a new value of a thing's property is a change, and when it is only a flicker.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The value that a property of a thing holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The value.
    pub value: Value,
    /// Since when, in UTC milliseconds.
    pub since_ms: i64,
    /// The newest event judged, in UTC milliseconds.
    pub judged_ms: i64,
}

/// A change that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The value before.
    pub from: Value,
    /// The value now.
    pub to: Value,
}

/// Judges a value seen at a time; `held` moves on. `settle_ms`: how long the old value must have been held.
///
/// A blank and the first value are no change; an older event changes nothing; a flicker restarts the hold.
pub fn see(held: &mut Option<Held>, value: &Value, at_ms: i64, settle_ms: i64) -> Option<Change> {
    if value.is_null() {
        return None;
    }
    let Some(old) = held else {
        *held = Some(Held { value: value.clone(), since_ms: at_ms, judged_ms: at_ms });
        return None;
    };
    if at_ms < old.judged_ms {
        return None;
    }
    old.judged_ms = at_ms;
    if old.value == *value {
        return None;
    }
    let from = std::mem::replace(&mut old.value, value.clone());
    let held_ms = at_ms - std::mem::replace(&mut old.since_ms, at_ms);
    (held_ms >= settle_ms).then(|| Change { from, to: value.clone() })
}

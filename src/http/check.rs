//! Small checks that every room's input needs, and the difference between a field left out and a field set to null.

use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer};

/// Refuses a text that is empty, longer than `chars_max` characters, or has control characters in it.
///
/// # Errors
/// 400 `validation_failed` that names the field.
pub fn check_text(field: &str, text: &str, chars_max: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid(field, "required", "must not be empty"));
    }
    if text.chars().count() > chars_max {
        return Err(Error::invalid(field, "too_long", format!("may have at most {chars_max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "invalid", "must not have control characters"));
    }
    Ok(())
}

/// For fields of a PATCH: `#[serde(default, deserialize_with = "given")] x: Option<T>` is `None` only when the field is
/// left out. `null` is refused, or clears the field where `T` is itself an `Option`.
///
/// # Errors
/// What `T` says.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

//! What a spec must keep to: collects every fault with the name of its field, so that one answer tells all of them.

use crate::error::{Error, FieldError, Result};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Longest key of a kind, category, purpose, topic: in characters.
pub const KEY_CHARS_MAX: usize = 64;
/// Longest name of anything, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// Longest span of time that a spec may name: 366 days.
pub const SPAN_MS_MAX: i64 = 366 * crate::clock::DAY_MS;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Check(Vec<FieldError>);

impl Check {
    /// Notes a fault.
    pub fn refuse(&mut self, field: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), code, message: message.into() });
    }

    /// Notes what a parser or another check refused, under this field.
    pub fn refuse_with(&mut self, field: &str, error: Error) -> Result<()> {
        match error {
            Error::Refused(problem) => {
                self.refuse(field, "invalid", problem.detail);
                Ok(())
            }
            Error::Busy(_) | Error::Broken(_) => Err(error),
        }
    }

    /// A key: what other specs, rules and URLs name it by.
    pub fn key(&mut self, field: impl Into<String>, text: &str) {
        if !is_key(text) {
            self.refuse(
                field,
                "invalid",
                format!("must be 1 to {KEY_CHARS_MAX} of a-z, 0-9, `_`, `-`, `.`, beginning with a letter or digit"),
            );
        }
    }

    /// Words for people: not blank, without control characters.
    pub fn words(&mut self, field: impl Into<String>, text: &str, chars_max: usize) {
        if text.trim().is_empty() {
            self.refuse(field, "required", "must not be blank");
        } else if text.chars().count() > chars_max {
            self.refuse(field, "too_long", format!("must have at most {chars_max} characters"));
        } else if text.chars().any(|c| c.is_control() && c != '\n') {
            self.refuse(field, "invalid", "must not have control characters");
        }
    }

    /// A number within bounds. NaN is within none.
    pub fn range<T: PartialOrd + Display>(&mut self, field: impl Into<String>, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            self.refuse(field, "out_of_range", format!("must be {} to {}", range.start(), range.end()));
        }
    }

    /// How many items a list has.
    pub fn count(&mut self, field: impl Into<String>, count: usize, range: RangeInclusive<usize>) {
        if !range.contains(&count) {
            let code = if count == 0 { "required" } else { "too_long" };
            self.refuse(field, code, format!("must have {} to {} items", range.start(), range.end()));
        }
    }

    /// Whether nothing was found so far.
    pub fn is_clean(&self) -> bool {
        self.0.is_empty()
    }

    /// The end of the check.
    ///
    /// # Errors
    /// 400 `validation_failed` that names every field at fault.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid_fields(self.0)) }
    }
}

/// Whether a text can be a key.
pub fn is_key(text: &str) -> bool {
    text.len() <= KEY_CHARS_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
}

/// Whether a text can be the type of an event: what CloudEvents and our own names use.
pub fn is_event_type(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'/'))
}

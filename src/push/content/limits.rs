//! What texts, keys and URLs of a content must keep to.

use super::is_template;
use crate::error::FieldError;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// The faults found so far, each under its field.
pub(super) struct Faults {
    at: String,
    found: Vec<FieldError>,
}

impl Faults {
    /// `at` is the name of the content itself, empty at the top.
    pub(super) fn new(at: &str) -> Self {
        Self { at: at.to_owned(), found: Vec::new() }
    }

    pub(super) fn refuse(&mut self, field: impl AsRef<str>, code: &'static str, message: impl Into<String>) {
        let (at, field) = (&self.at, field.as_ref());
        let dot = if at.is_empty() || field.is_empty() { "" } else { "." };
        self.found.push(FieldError { field: format!("{at}{dot}{field}"), code, message: message.into() });
    }

    /// A text: not blank, no control characters, so many bytes at most.
    pub(super) fn text(&mut self, field: &str, text: Option<&str>, bytes_max: usize) {
        let Some(text) = text else { return };
        if text.trim().is_empty() {
            self.refuse(field, "required", "must not be blank; leave it out instead");
        } else if text.len() > bytes_max {
            self.refuse(field, "too_long", format!("must have at most {bytes_max} bytes"));
        } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            self.refuse(field, "invalid", "must not have control characters");
        }
    }

    /// A URL over https; what is still a template is looked at when it is rendered.
    pub(super) fn https(&mut self, field: &str, url: Option<&str>) {
        self.text(field, url, super::check::URL_BYTES_MAX);
        if url.is_some_and(|url| !is_template(url) && !is_https(url)) {
            self.refuse(field, "invalid", "must be a URL that begins with https://");
        }
    }

    /// A URL over https that is the same for everybody: nobody renders it, so braces would reach the phone.
    pub(super) fn fixed_https(&mut self, field: &str, url: Option<&str>) {
        self.https(field, url);
        if url.is_some_and(is_template) {
            self.refuse(field, "invalid", "is no template: it must be a URL that is the same for everybody");
        }
    }

    /// A colour.
    pub(super) fn color(&mut self, field: &str, color: Option<&str>) {
        let good = |c: &str| c.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if color.is_some_and(|c| !good(c)) {
            self.refuse(field, "invalid", "must be a colour such as #aa3300");
        }
    }

    /// A number within bounds.
    pub(super) fn range<T: PartialOrd + Display>(&mut self, field: &str, value: Option<T>, range: RangeInclusive<T>) {
        if value.is_some_and(|value| !range.contains(&value)) {
            self.refuse(field, "out_of_range", format!("must be {} to {}", range.start(), range.end()));
        }
    }

    /// How many items a list has, and how large each is.
    pub(super) fn timings(&mut self, field: &str, timings_ms: &[u32]) {
        if timings_ms.len() > 20 {
            self.refuse(field, "too_long", "must have at most 20 items");
        }
        if timings_ms.iter().any(|ms| *ms > 60_000) {
            self.refuse(field, "out_of_range", "each must be 0 to 60000");
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn finish(self) -> Vec<FieldError> {
        self.found
    }
}

/// Whether a URL can be fetched safely by a phone.
pub(super) fn is_https(url: &str) -> bool {
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !url.bytes().any(|b| b.is_ascii_control() || b == b' ')
}

/// Whether it can be a collapse id or a thread: visible ASCII, 64 at most.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a key of `data` is free: FCM reserves some, APNs has `aps`, and ours begin with `kairos`.
pub(super) fn is_data_key(key: &str) -> bool {
    (1..=64).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && !["from", "message_type", "notification", "aps", "collapse_key"].contains(&key)
        && !["google", "gcm", "kairos"].iter().any(|taken| key.starts_with(taken))
}

//! What a key, a locale, a time zone and an installation id look like; a refusal names the field.

use crate::error::{Error, Result};

/// Longest key of a purpose, topic or attribute, in bytes.
const KEY_LIMIT: usize = 64;

/// A key that people choose for a purpose or topic: a lower-case letter, then letters, digits, `_`, `-`, `.`.
///
/// # Errors
/// 400 that names the field.
pub fn key(field: &str, text: &str) -> Result<()> {
    let rest_is_good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
    let good =
        text.len() <= KEY_LIMIT && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && text.bytes().all(rest_is_good);
    refuse_unless(good, field, "expected a lower-case letter, then up to 63 of a-z, 0-9, _, -, .")
}

/// A name that rules can use: a lower-case letter, then letters, digits, `_`.
///
/// # Errors
/// 400 that names the field.
pub fn identifier(field: &str, text: &str) -> Result<()> {
    let good = text.len() <= KEY_LIMIT
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    refuse_unless(good, field, "expected a lower-case letter, then up to 63 of a-z, 0-9, _")
}

/// A language tag such as `de`, `de-CH` or `zh-Hant-TW` (RFC 5646, by shape alone).
///
/// # Errors
/// 400 that names the field.
pub fn locale(field: &str, text: &str) -> Result<()> {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or("");
    let good = text.len() <= 35
        && (2..=8).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()));
    refuse_unless(good, field, "expected a language tag such as de or de-CH")
}

/// A time zone of the IANA database; answers its name as the database spells it.
///
/// # Errors
/// 400 that names the field.
pub fn zone(field: &str, text: &str) -> Result<String> {
    let found = if text.len() <= 64 { jiff::tz::TimeZone::get(text).ok() } else { None };
    // `get` also knows names that stand for no place, such as `Etc/Unknown`.
    let found = found.filter(|zone| !zone.is_unknown());
    found
        .and_then(|zone| zone.iana_name().map(str::to_owned))
        .ok_or_else(|| Error::invalid(field, "invalid", "expected a time zone of the IANA database such as Europe/Zurich"))
}

/// What stands for one installation of the app: made by the phone, 1 to 100 of letters, digits, `.`, `_`, `:`, `-`.
///
/// # Errors
/// 400 that names the field.
pub fn installation(field: &str, text: &str) -> Result<()> {
    let good = (1..=100).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    refuse_unless(good, field, "expected 1 to 100 of letters, digits, . _ : -")
}

fn refuse_unless(good: bool, field: &str, message: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::invalid(field, "invalid", message)) }
}

//! Values in URLs: percent-encoded, so that none of them adds a parameter, a folder or a space to what the author wrote.

use super::engine::OUTPUT_BYTES_MAX;
use crate::push::Content;
use minijinja::value::StringInput;
use minijinja::{AutoEscape, Error, ErrorKind, Output, State, Value, escape_formatter};
use std::cell::Cell;
use std::fmt::{self, Write};

thread_local! {
    /// Whether the text that this thread renders has begun. The writer sees what the author wrote and the formatter what
    /// values say, but neither sees the other.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// This thread begins another text.
pub(super) fn begin() {
    BEGUN.set(false);
}

/// This was written. Space does not begin a text: it is cut off in the end.
pub(super) fn wrote(bytes: &[u8]) {
    if !bytes.iter().all(u8::is_ascii_whitespace) {
        BEGUN.set(true);
    }
}

/// How the text of this name, `locale/field`, takes values.
pub(super) fn escape_of(name: &str) -> AutoEscape {
    match name.split_once('/') {
        Some((_, field)) if Content::is_url(field) => AutoEscape::Custom("url".into()),
        _ => AutoEscape::None,
    }
}

/// Writes a value into its text.
///
/// A URL that begins with a value has its scheme and host from there: that one is whole. So is what the author marked
/// `safe`.
pub(super) fn write_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if !matches!(state.auto_escape(), AutoEscape::Custom(_)) {
        return escape_formatter(out, state, value);
    }
    if !BEGUN.replace(true) || value.is_safe() {
        write!(out, "{value}")?;
    } else {
        write!(Encoded(out), "{value}")?;
    }
    Ok(())
}

/// The filter of this name, for authors who put links into `data`; in a URL its result is not encoded once more.
///
/// Not the engine's own: that one prints nothing for a missing value, leaves `/` as it is, and has no end.
pub(super) fn urlencode(text: StringInput<'_>) -> Result<Value, Error> {
    let mut encoded = String::new();
    Encoded(&mut encoded).write_str(text.as_str())?;
    if encoded.len() > OUTPUT_BYTES_MAX {
        return Err(Error::from(ErrorKind::WriteFailure));
    }
    Ok(Value::from_safe_string(encoded))
}

/// Percent-encodes what is written into it: everything but the unreserved characters of RFC 3986.
struct Encoded<'a, W>(&'a mut W);

impl<W: Write> Write for Encoded<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => self.0.write_char(char::from(byte))?,
                _ => write!(self.0, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

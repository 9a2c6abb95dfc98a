//! What passes for an e-mail address and a password (NIST SP 800-63B: length, no composition rules).

use crate::error::{Error, Result};

/// Fewest characters (code points) of a password.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Most characters (code points) of a password.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// Longest e-mail address, in bytes (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// Longest part before the @, in bytes.
const LOCAL_BYTES_MAX: usize = 64;

/// Checks the form of an e-mail address and gives it in lower case, as it is stored and compared.
///
/// # Errors
/// 400 that names `email`.
pub fn check_email(text: &str) -> Result<String> {
    let wrong = || Error::invalid("email", "invalid", "expected an e-mail address such as ada@example.com");
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let local_is_good = !local.is_empty()
        && local.len() <= LOCAL_BYTES_MAX
        && !local.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '@' | '"' | '<' | '>' | ',' | ';'));
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c == '-' || c.is_alphanumeric())
    };
    if text.len() > EMAIL_BYTES_MAX || !local_is_good || !domain.contains('.') || !domain.split('.').all(label_is_good) {
        return Err(wrong());
    }
    Ok(text.to_lowercase())
}

/// Checks a password that is to be set.
///
/// # Errors
/// 400 that names the field.
pub fn check_password(field: &str, text: &str) -> Result<()> {
    check_presented(field, text)?;
    if text.chars().count() < PASSWORD_CHARS_MIN {
        return Err(Error::invalid(field, "too_short", format!("needs at least {PASSWORD_CHARS_MIN} characters")));
    }
    Ok(())
}

/// Bounds a password that is only compared: a long one costs no more than any other.
///
/// # Errors
/// 400 that names the field.
pub(super) fn check_presented(field: &str, text: &str) -> Result<()> {
    if text.chars().count() > PASSWORD_CHARS_MAX {
        return Err(Error::invalid(field, "too_long", format!("may have at most {PASSWORD_CHARS_MAX} characters")));
    }
    Ok(())
}

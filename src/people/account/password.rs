//! What passes for an e-mail address and a password (NIST SP 800-63B-4: length and a list of common ones, no rules about
//! which characters).

use crate::app::{self, Settings};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::id::AppId;
use crate::platform::Platform;
use flate2::read::GzDecoder;
use std::collections::HashSet;
use std::io::Read as _;
use std::sync::LazyLock;

/// Most characters (code points) of a password.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// Longest e-mail address, in bytes (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// Longest part before the @, in bytes.
const LOCAL_BYTES_MAX: usize = 64;
/// Shortest part of an address that a password must not be made of, in characters.
const PART_CHARS_MIN: usize = 4;

/// Passwords that guessers try first, in lower case; 80 kB, read when the first password is set.
static COMMON: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let mut text = String::new();
    // The list is part of the program: a test reads it.
    let _ = GzDecoder::new(&include_bytes!("common-passwords.txt.gz")[..]).read_to_string(&mut text);
    text.lines().map(str::to_owned).collect()
});

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

/// Checks a password that is to be set for an account with this address.
///
/// # Errors
/// 400 that names the field.
pub fn check_password(field: &str, password: &str, (email, chars_min): (&str, usize)) -> Result<()> {
    check_presented(field, password)?;
    if password.chars().count() < chars_min {
        return Err(Error::invalid(field, "too_short", format!("needs at least {chars_min} characters")));
    }
    if is_common(&password.to_lowercase(), email) {
        return Err(Error::invalid(field, "too_common", "is easily guessed: choose another one, for example several words"));
    }
    Ok(())
}

/// Whether a password is on the list, is one character or one run of characters over and over, or is the address.
fn is_common(password: &str, email: &str) -> bool {
    let mut steps =
        password.chars().zip(password.chars().skip(1)).map(|(a, b)| i64::from(u32::from(b)) - i64::from(u32::from(a)));
    let first = steps.next().unwrap_or(0);
    let is_run = (-1..=1).contains(&first) && steps.all(|step| step == first);
    let local = email.split('@').next().unwrap_or(email);
    // The name of the address with a few digits behind it is what is guessed next.
    let is_address = local.chars().count() >= PART_CHARS_MIN
        && password.strip_prefix(local).is_some_and(|rest| rest.len() <= 4 && rest.bytes().all(|b| b.is_ascii_digit()));
    is_run || is_address || password == email || COMMON.contains(password)
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

/// Checks a password that is to be set by the rules of its app.
///
/// # Errors
/// 400 that names the field; what the database says.
pub(super) async fn check_new(platform: &Platform, app_id: AppId, (field, password): (&str, &Secret), email: &str) -> Result<()> {
    let Settings { password_chars_min, .. } = platform.store.read(move |conn| app::settings(conn, app_id)).await?;
    check_password(field, password.expose(), (email, usize::try_from(password_chars_min).unwrap_or(usize::MAX)))
}

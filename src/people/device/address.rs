//! What stands in a device's token: its address, and behind it the keys with which words are sealed for it. Pure.
//!
//! To everybody else the text is one token, parted by blanks: a new key is a new token, so what waits for the old one ends
//! as it does for every token that has changed. Only the store keeps the address apart, because that is what must be unique.

use super::web::{self, AUTH_BYTES, POINT_BYTES, SubscriptionKeys};
use crate::error::{Error, Result};

/// What of a token its gateway is told: all of it; of a subscription the endpoint.
pub fn address(token: &str) -> &str {
    token.split(' ').next().unwrap_or_default()
}

/// The public key and the secret of an installation that can read sealed words; none of one that cannot.
pub fn sealing_keys(token: &str) -> Option<([u8; POINT_BYTES], [u8; AUTH_BYTES])> {
    let (_, keys) = token.split_once(' ')?;
    let (p256dh, auth) = keys.split_once(' ')?;
    web::read_keys(p256dh, auth)
}

/// A token with the keys of its installation behind it.
///
/// # Errors
/// 400 that names the field and never repeats it.
pub fn with_keys(token: &str, keys: &SubscriptionKeys) -> Result<String> {
    if token.contains(' ') {
        return Err(Error::invalid("token", "invalid", "a token has no blanks"));
    }
    let (p256dh, auth) = keys.text("encryption")?;
    Ok(format!("{token} {p256dh} {auth}"))
}

/// The parts of a token that are kept apart: the address, and the rest.
pub(super) fn split(token: String) -> (String, Option<String>) {
    match token.split_once(' ') {
        Some((address, rest)) => (address.to_owned(), Some(rest.to_owned())),
        None => (token, None),
    }
}

/// The token of its parts.
pub(super) fn join(address: String, rest: Option<String>) -> String {
    match rest {
        Some(rest) => format!("{address} {rest}"),
        None => address,
    }
}

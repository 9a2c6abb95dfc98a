//! What stands in a device's token: its address, and behind it the keys with which words are sealed for it.
//!
//! To everybody else the text is one token, parted by blanks: a new key is a new token, so what waits for the old one ends
//! as it does for every token that has changed. Only the store keeps the address apart, because that is what must be unique.

use super::web::{self, AUTH_BYTES, POINT_BYTES, SubscriptionKeys};
use super::{Registration, store};
use crate::error::{Error, Problem, Result};
use crate::id::AppId;
use crate::store::Conn;
use std::collections::BTreeSet;

/// Most push services of one user's browsers, beside those that have one name.
const SERVICES_LIMIT: usize = 5;

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

/// Each push service costs connections of its own: nobody has browsers of more than a few.
///
/// # Errors
/// 409 `too_many_push_services`.
pub(super) fn check_services(conn: &mut Conn, app: AppId, registration: &Registration) -> Result<()> {
    let service = registration.traits.address().and_then(web::authority);
    let Some(service) = service.filter(|service| !web::is_well_known(service)) else { return Ok(()) };
    let endpoints = store::endpoints(conn, app, registration.user)?;
    let others: BTreeSet<&str> = endpoints
        .iter()
        .filter(|(installation, _)| *installation != registration.installation_id)
        .filter_map(|(_, endpoint)| web::authority(endpoint))
        .filter(|other| *other != service && !web::is_well_known(other))
        .collect();
    if others.len() >= SERVICES_LIMIT {
        let detail =
            format!("A user's browsers may use {SERVICES_LIMIT} push services beside the usual ones; delete a device first.");
        return Err(Problem::new(409, "too_many_push_services", detail).into());
    }
    Ok(())
}

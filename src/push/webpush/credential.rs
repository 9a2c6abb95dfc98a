//! An app's VAPID keys as its back office sees them: made by us or brought along, and replaced.

use super::vapid;
use crate::clock::MINUTE_MS;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::id::AppId;
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::push::Gateway;
use crate::push::credentials::{self, Credential, NewCredential, Public};
use crate::store::Conn;

/// What is asked of an app's VAPID keys.
pub struct VapidWish {
    /// Whom a push service may write to.
    pub subject: String,
    /// A key of the app's own, to be the present one.
    pub private_key: Option<Secret>,
    /// Whether a new key is to be made, though there is one.
    pub rotate: bool,
}

/// A call to rotate that comes so soon after another one is that one again, whose answer was lost.
const AGAIN_MS: i64 = MINUTE_MS;

/// Stores the contact of an app's VAPID keys and makes the first of them, or another one when that is asked for. The
/// public key that pages subscribe with from now on.
///
/// # Errors
/// 400 that names the field at fault.
pub fn put_vapid(conn: &mut Conn, platform: &Platform, app: AppId, wish: VapidWish) -> Result<Public> {
    let VapidWish { subject, private_key, rotate } = wish;
    let refused = |(field, why): (&str, &str)| Error::invalid(field, "invalid", why);
    // Two at once must not lose each other's keys.
    conn.serialise(&format!("push_credentials:{app}:webpush"))?;
    let stored = credentials::sealed(conn, app, (Gateway::WebPush, Environment::Production))?;
    let before = match stored.first().map(|sealed| sealed.open(platform, app)).transpose()? {
        Some(Credential::WebPush(keys)) => Some(keys),
        Some(Credential::Apns { .. } | Credential::Fcm(_)) | None => None,
    };
    let private = match (&private_key, &before) {
        (Some(_), _) if rotate => return Err(refused(("rotate", "a new key is made, or yours is taken, not both"))),
        (Some(text), _) => Some(vapid::read(text.expose()).map_err(|why| refused(("private_key", why)))?),
        (None, Some(before)) if !rotate || before.rotated_within(AGAIN_MS, platform.clock.now_ms()) => None,
        (None, _) => Some(vapid::make(&platform.ids)),
    };
    let keys = match (private, before) {
        (None, Some(before)) => before.with_subject(subject),
        (Some(private), before) => {
            let keys = vapid::Keys::new(subject, &private, before, platform.clock.now_ms());
            keys.map(|keys| if rotate { keys.rotated() } else { keys })
        }
        (None, None) => return Err(Error::broken("no key was made")),
    };
    let new = NewCredential::webpush(&keys.map_err(refused)?)?;
    credentials::put(conn, platform, app, &new)?;
    Ok(new.public)
}

/// The public key that pages subscribe with, once there is one.
///
/// # Errors
/// What the database says.
pub fn public_key(conn: &mut Conn, app: AppId) -> Result<Option<String>> {
    let stored = credentials::list(conn, app, Gateway::WebPush)?;
    Ok(stored.into_iter().find_map(|known| known.public.public_key))
}

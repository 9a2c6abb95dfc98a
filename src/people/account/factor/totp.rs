//! Codes of authenticator apps (RFC 6238): six digits of HMAC-SHA-1, a new one every 30 seconds.

use super::super::store;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::platform::Platform;
use crate::store::Conn;
use totp_rs::Builder;

/// Bytes of a secret: 160 bits, as long as the hash.
pub(crate) const SECRET_BYTES: usize = 20;
/// Digits of a code.
const DIGITS: usize = 6;

/// The step of a code that is good now: the present one, or one step before or after it, for clocks that differ.
pub fn totp_step(secret: &[u8], code: &str, now_s: i64) -> Option<i64> {
    // Authenticator apps show codes in two groups.
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if code.len() != DIGITS || !code.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let totp = Builder::new().with_secret(secret).build_noncompliant();
    let step = totp.check(&code, u64::try_from(now_s).ok()?)?;
    i64::try_from(step).ok()
}

/// The secret as people type it in, and the URI that a QR code holds.
pub(crate) fn uri(secret: &[u8], (issuer, account): (&str, &str)) -> Result<(String, String)> {
    let plain = |text: &str| text.replace(':', " ");
    let builder = Builder::new().with_secret(secret).with_issuer(Some(plain(issuer))).with_account_name(plain(account));
    let totp = builder.build().map_err(Error::broken)?;
    // What is the default is said too: some apps guess.
    let uri = totp.to_url().map_err(Error::broken)?;
    Ok((totp.secret().to_base32(), format!("{uri}&algorithm=SHA1&digits=6&period=30")))
}

/// With what a user's secret is sealed.
pub(crate) fn context((app_id, user): (AppId, UserId)) -> String {
    format!("totps:{app_id}:{user}")
}

/// Whether a code is the user's and was not used before; it is used up.
pub(super) fn take(conn: &mut Conn, platform: &Platform, who: (AppId, UserId), code: &Secret) -> Result<bool> {
    let Some(totp) = store::totp(conn, who.0, who.1)? else { return Ok(false) };
    let secret = platform.master_key.open(&context(who), &totp.sealed)?;
    match totp_step(&secret, code.expose(), platform.clock.now_ms().div_euclid(1_000)) {
        Some(step) => store::take_step(conn, who, step),
        None => Ok(false),
    }
}

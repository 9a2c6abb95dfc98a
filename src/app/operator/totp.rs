//! The second factor: codes of RFC 6238 (SHA-1, 6 digits, 30 s), and codes to recover with when the phone is lost (pure).

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::platform::MasterKey;
use std::fmt::Write as _;
use totp_rs::{Builder, Totp};

/// Bytes of a shared secret: 160 bits, as RFC 4226 asks.
pub(super) const SECRET_BYTES: usize = 20;
/// How many codes to recover with.
pub(super) const RECOVERY_CODES: usize = 10;
/// Random bytes of one such code: 64 bits.
const RECOVERY_BYTES: usize = 8;
/// What authenticator apps show as the issuer.
const ISSUER: &str = "Kairos";

fn totp(secret: &[u8], account: &str) -> Result<Totp> {
    let builder = Builder::new().with_secret(secret).with_skew(1).with_issuer(Some(ISSUER)).with_account_name(account);
    builder.build().map_err(|e| Error::broken(format!("a second factor cannot be used: {e}")))
}

/// The step whose code this is: the present one or one either side of it, and later than the last one taken.
pub fn accepted_step(secret: &[u8], code: &str, (now_ms, last_step): (i64, i64)) -> Option<i64> {
    let now_s = u64::try_from(now_ms / 1_000).ok()?;
    let step = totp(secret, "").ok()?.check(code, now_s)?;
    i64::try_from(step).ok().filter(|step| *step > last_step)
}

/// What an authenticator app reads from a QR code, and the same secret in letters for who has to type it.
pub(super) fn provision(secret: &[u8], email: &str) -> Result<(Secret, Secret)> {
    // A colon would end the issuer.
    let totp = totp(secret, &email.replace(':', "_"))?;
    let url = totp.to_url().map_err(|e| Error::broken(format!("a second factor cannot be shown: {e}")))?;
    // Said although they are what apps assume: not all assume it.
    let url = format!("{url}&algorithm=SHA1&digits=6&period=30");
    Ok((Secret::new(url), Secret::new(totp.secret().to_base32())))
}

/// Codes as they are shown, e.g. `1b9d-66f0-…`.
pub(super) fn recovery_codes(random: [[u8; RECOVERY_BYTES]; RECOVERY_CODES]) -> Vec<String> {
    let code = |bytes: [u8; RECOVERY_BYTES]| {
        bytes.chunks(2).enumerate().fold(String::new(), |mut out, (n, pair)| {
            let dash = if n == 0 { "" } else { "-" };
            // Writing to a String does not fail.
            let _ = write!(out, "{dash}{:02x}{:02x}", pair[0], pair[1]);
            out
        })
    };
    random.map(code).to_vec()
}

/// What is stored of one: a keyed hash of what was typed, however it was spaced.
pub(super) fn recovery_hash(key: &MasterKey, operator: &str, code: &str) -> String {
    let bare: String = code.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    crate::app::key::hex(&key.derive("operator recovery code", format!("{operator}|{bare}").as_bytes()))
}

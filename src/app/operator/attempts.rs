//! How often one may try to sign in: after some failures each further one costs a longer wait, per account and per address.
//!
//! An attempt is counted before anything is looked up, and taken back when it succeeds: many at once do not get around
//! the count, and known and unknown accounts are told the same.

use super::store::{self, Attempts};
use crate::app::key::hex;
use crate::clock::{HOUR_MS, is_ahead};
use crate::error::{Error, Problem, Result};
use crate::http::ClientAddress;
use crate::platform::MasterKey;
use crate::store::Conn;

/// Failures of an account that cost no wait.
const FREE_PER_ACCOUNT: i64 = 5;
/// Failures from an address that cost no wait.
const FREE_PER_ADDRESS: i64 = 20;
/// The first wait, in milliseconds; each further failure doubles it.
const WAIT_MS: i64 = 30_000;
/// The longest wait, in milliseconds.
const WAIT_MAX_MS: i64 = HOUR_MS;
/// Without a failure for so long all is forgotten, in milliseconds.
const FORGOTTEN_MS: i64 = 24 * HOUR_MS;

/// Whose attempts are counted: the account's and the address's keyed hashes.
#[derive(Clone)]
pub(super) struct Who {
    account: String,
    address: String,
}

impl Who {
    pub(super) fn new(key: &MasterKey, email: &str, address: ClientAddress) -> Self {
        let hashed = |kind: &str, text: &str| {
            let hash = key.derive("operator attempts", format!("{kind}|{text}").as_bytes());
            format!("{kind}:{}", hex(&hash[..16]))
        };
        Self { account: hashed("account", email), address: hashed("address", &address.prefix().to_string()) }
    }

    /// Counts an attempt as a failure.
    ///
    /// # Errors
    /// 429 with the seconds to wait; then nothing is counted.
    pub(super) fn begin(&self, conn: &mut Conn, now_ms: i64) -> Result<()> {
        for (who, free) in [(&self.account, FREE_PER_ACCOUNT), (&self.address, FREE_PER_ADDRESS)] {
            let known = store::attempts_held(conn, who)?;
            if is_ahead(known.until_ms, now_ms, WAIT_MAX_MS) {
                let mut problem = Problem::new(429, "too_many_attempts", "Too many attempts; wait before the next one.");
                problem.retry_after_s = Some(u64::try_from(known.until_ms - now_ms).unwrap_or(0).div_ceil(1_000).max(1));
                return Err(problem.into());
            }
            let failures = if now_ms - known.last_ms > FORGOTTEN_MS { 1 } else { known.failures + 1 };
            let until_ms = now_ms + wait_ms(failures - free);
            store::set_attempts(conn, &Attempts { who: who.clone(), failures, last_ms: now_ms, until_ms })?;
        }
        Ok(())
    }

    /// Takes the attempt back: it has succeeded. What others failed at from this address stays counted, so that nobody
    /// opens the way for guesses by signing in to an account of their own.
    pub(super) fn succeeded(&self, conn: &mut Conn) -> Result<()> {
        store::forget_attempts(conn, &self.account)?;
        let known = store::attempts_held(conn, &self.address)?;
        let failures = (known.failures - 1).max(0);
        store::set_attempts(conn, &Attempts { failures, until_ms: 0, ..known })
    }
}

/// The wait after the nth failure beyond the free ones.
fn wait_ms(beyond: i64) -> i64 {
    match u32::try_from(beyond) {
        Err(_) | Ok(0) => 0,
        Ok(n) => WAIT_MS.saturating_mul(1_i64.checked_shl(n - 1).filter(|_| n < 32).unwrap_or(i64::MAX)).min(WAIT_MAX_MS),
    }
}

/// The answer to every attempt that fails, whatever was wrong.
pub(super) fn rejected() -> Error {
    Problem::new(401, "invalid_credentials", "E-mail, password or code is wrong, a code is missing, or it was used before.")
        .into()
}

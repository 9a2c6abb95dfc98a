//! Whom an address leads to, once somebody has shown that they read its mail.
//!
//! An address belongs to the account whose user has proven it, and to one account only. Until then it is a claim, and
//! whoever made it first may be an attacker who waits for the address's owner to confirm it for them. So the first
//! proof of an address ends everything that was there before it: the password, every session, every other way in. What
//! stays is the one session that the proof was given in, with its password: then its user and the reader of the mail
//! are the same person.

use super::departure::{Gone, end_others};
use super::federation::forget_identities;
use super::store::{self, End};
use crate::error::Result;
use crate::id::{AppId, SessionId, UserId};
use crate::store::Conn;

/// Who shows that they read the mail of an address.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prover {
    /// Whose claim of the address is proven; the oldest one without it.
    pub(super) user: Option<UserId>,
    /// The session of that user in which they prove it.
    pub(super) session: Option<SessionId>,
}

/// What a proof led to.
pub(super) struct Proven {
    /// Whose the address is; none when no account has anything to do with it.
    pub(super) user: Option<UserId>,
    pub(super) gone: Gone,
}

/// See the module.
///
/// # Errors
/// What the database says.
pub(super) fn prove(conn: &mut Conn, (app_id, email): (AppId, &str), prover: Prover, now_ms: i64) -> Result<Proven> {
    store::hold_email(conn, app_id, email)?;
    if let Some(owner) = held(conn, app_id, |conn| store::owner(conn, app_id, email))? {
        return Ok(Proven { user: Some(owner), gone: Gone::default() });
    }
    let claim = held(conn, app_id, |conn| match prover.user {
        // Who has another address by now does not change it by this.
        Some(user) => Ok(store::email_of(conn, app_id, user)?.is_none_or(|(own, _)| own == email).then_some(user)),
        None => store::oldest_claim(conn, app_id, email),
    })?;
    let Some(user) = claim else { return Ok(Proven { user: None, gone: Gone::default() }) };
    store::own_email(conn, app_id, (user, email), now_ms)?;
    store::touch(conn, app_id, user, (vec!["email".to_owned()], now_ms))?;
    let gone = match prover.session {
        Some(session) => end_others(conn, (app_id, user), Some(session), (End::AddressProven, now_ms))?,
        None => purge(conn, (app_id, user), now_ms)?,
    };
    Ok(Proven { user: Some(user), gone })
}

/// Whom an address leads to, held: they may have got another one while they were waited for.
fn held(conn: &mut Conn, app_id: AppId, mut leads: impl FnMut(&mut Conn) -> Result<Option<UserId>>) -> Result<Option<UserId>> {
    while let Some(user) = leads(conn)? {
        store::hold_user(conn, app_id, user)?;
        if leads(conn)? == Some(user) {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Takes every way in from an account.
pub(super) fn purge(conn: &mut Conn, (app_id, user): (AppId, UserId), now_ms: i64) -> Result<Gone> {
    store::hold_user(conn, app_id, user)?;
    store::drop_password(conn, app_id, user)?;
    store::drop_factors(conn, app_id, user)?;
    forget_identities(conn, (app_id, user), now_ms)?;
    end_others(conn, (app_id, user), None, (End::AddressProven, now_ms))
}

//! Identities of an account that exists: linked and unlinked by its user, and what else ends them.

use super::enter::Guest;
use super::store::{self, Identity, Revocation};
use crate::error::{Error, Result};
use crate::id::{AppId, IdentityId, UserId};
use crate::people::account::caller::UserToken;
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::factor;
use crate::people::account::proof::{Prover, prove};
use crate::people::account::store::{self as accounts, End};
use crate::store::Conn;

/// Most identities of one user.
const IDENTITIES_MAX: usize = 20;

/// Links an identity to the account of a signed-in user. An address that its issuer may speak for becomes theirs if they
/// have none and nobody else has it.
///
/// # Errors
/// 409 when it is somebody else's, or the user is anonymous, or has too many.
pub(super) fn link(conn: &mut Conn, caller: UserToken, guest: &Guest, now_ms: i64) -> Result<(Identity, Gone)> {
    let who = (caller.app_id, caller.user_id);
    let known = hold(conn, caller, guest)?;
    let user = accounts::user(conn, who.0, who.1)?.ok_or_else(|| Error::not_found("user"))?;
    if user.anonymous {
        let detail = "An anonymous user has no account to link to: send this token to POST /v1/auth/id-token with the ID token.";
        return Err(Error::conflict("anonymous", detail));
    }
    if let Some(identity) = known {
        if identity.user_id != caller.user_id {
            return Err(Error::conflict("identity_taken", "This identity belongs to another account of this app."));
        }
        return Ok((guest.seen(conn, identity, now_ms)?, Gone::default()));
    }
    if store::of_user(conn, who.0, who.1)?.len() >= IDENTITIES_MAX {
        return Err(Error::conflict("too_many_identities", format!("A user may have at most {IDENTITIES_MAX} identities.")));
    }
    let identity = guest.link(conn, caller.user_id, now_ms)?;
    let mut gone = Gone::default();
    if let Some(email) = guest.vouched.email.as_deref().filter(|_| guest.vouched.has_authority) {
        let is_theirs_to_have = match accounts::email_of(conn, who.0, who.1)? {
            None => true,
            Some((claimed, verified_ms)) => verified_ms.is_none() && claimed == email,
        };
        if is_theirs_to_have {
            let prover = Prover { user: Some(caller.user_id), session: Some(caller.session_id) };
            gone = prove(conn, (who.0, email), prover, now_ms)?.gone;
        }
    }
    Ok((identity, gone))
}

/// Holds all that a link touches. Much can have happened since the token was checked: the issuer was asked in between.
/// The identity, if it is known.
///
/// # Errors
/// 401 when the session has ended.
pub(super) fn hold(conn: &mut Conn, caller: UserToken, guest: &Guest) -> Result<Option<Identity>> {
    guest.known(conn)?;
    if let Some(email) = &guest.vouched.email {
        accounts::hold_email(conn, caller.app_id, email)?;
    }
    accounts::hold_user(conn, caller.app_id, caller.user_id)?;
    accounts::keep_open(conn, caller.app_id, caller.session_id)?;
    guest.known(conn)
}

/// Unlinks an identity; every session but the caller's ends, for any may have come by it.
///
/// # Errors
/// 404; 409 when it is the last way in.
pub(super) fn unlink(conn: &mut Conn, caller: UserToken, id: IdentityId, now_ms: i64) -> Result<Gone> {
    let who = (caller.app_id, caller.user_id);
    accounts::hold_user(conn, who.0, who.1)?;
    accounts::keep_open(conn, who.0, caller.session_id)?;
    let own = store::of_user(conn, who.0, who.1)?;
    let identity = own.iter().find(|identity| identity.id == id).ok_or_else(|| Error::not_found("identity"))?;
    drop_one(conn, identity, now_ms)?;
    factor::need_way_in(conn, who.0, who.1)?;
    end_others(conn, who, Some(caller.session_id), (End::CredentialChanged, now_ms))
}

/// An issuer's word is taken back, by its user at the issuer or for good. Its sessions end. While it is the only way into
/// the account, and the user may come back with it, it is kept and opens nothing until the issuer vouches for it again.
pub(super) fn revoke(conn: &mut Conn, identity: &Identity, (for_good, now_ms): (bool, i64)) -> Result<Gone> {
    let who = (identity.app_id, identity.user_id);
    accounts::hold_user(conn, who.0, who.1)?;
    // Apple has forgotten its refresh token already.
    store::update(conn, &Identity { refresh_sealed: None, revoked_ms: Some(now_ms), ..identity.clone() })?;
    if for_good || factor::has_way_in(conn, who.0, who.1)? {
        store::delete(conn, who.0, identity.id)?;
    }
    end_others(conn, who, None, (End::CredentialChanged, now_ms))
}

/// Whether an issuer vouches for a user.
///
/// # Errors
/// What the database says.
pub fn vouches(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<bool> {
    Ok(!store::of_user(conn, app_id, user)?.is_empty())
}

fn drop_one(conn: &mut Conn, identity: &Identity, now_ms: i64) -> Result<()> {
    queue(conn, identity, now_ms)?;
    store::delete(conn, identity.app_id, identity.id)
}

fn queue(conn: &mut Conn, identity: &Identity, now_ms: i64) -> Result<()> {
    let Some(refresh_sealed) = identity.refresh_sealed.clone() else { return Ok(()) };
    let Identity { app_id, id: identity_id, client_id, .. } = identity.clone();
    store::queue_revocation(conn, &Revocation { app_id, identity_id, client_id, refresh_sealed, attempts: 0, due_ms: now_ms })
}

/// Has Apple take back what it gave for a user: before their account is erased.
///
/// # Errors
/// What the database says.
pub fn revoke_apple(conn: &mut Conn, (app_id, user): (AppId, UserId), now_ms: i64) -> Result<()> {
    store::of_user(conn, app_id, user)?.iter().try_for_each(|identity| queue(conn, identity, now_ms))
}

/// Takes every identity from a user, and has Apple take back what it gave for them.
///
/// # Errors
/// What the database says.
pub fn forget_identities(conn: &mut Conn, (app_id, user): (AppId, UserId), now_ms: i64) -> Result<()> {
    revoke_apple(conn, (app_id, user), now_ms)?;
    store::delete_all(conn, app_id, user)
}

//! What the app's back end says of a user's account: an address, whether it is proven, a password of another system.

use super::{context, place};
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, SessionId, UserId};
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::grant;
use crate::people::account::proof::purge;
use crate::people::account::store::{self, End, ForeignRow};
use crate::platform::Platform;
use crate::store::Conn;
use std::collections::BTreeSet;

/// An address that a user is to have, checked and in the form in which it is stored.
pub(in crate::people) struct BroughtIn<'a> {
    pub(in crate::people) email: &'a str,
    /// Whether the other system had its user prove it.
    pub(in crate::people) verified: bool,
    /// The text of a hash that could be read.
    pub(in crate::people) password_hash: Option<&'a str>,
}

/// To whom, when.
#[derive(Clone, Copy)]
pub(in crate::people) struct To {
    pub(in crate::people) app_id: AppId,
    pub(in crate::people) user: UserId,
    pub(in crate::people) now_ms: i64,
}

/// Holds addresses, in their order.
pub(in crate::people) fn hold_emails(conn: &mut Conn, app_id: AppId, emails: &BTreeSet<&str>) -> Result<()> {
    emails.iter().try_for_each(|email| store::hold_email(conn, app_id, email))
}

/// Holds accounts, in the order of their ids.
pub(in crate::people) fn hold_users(conn: &mut Conn, app_id: AppId, users: &BTreeSet<UserId>) -> Result<()> {
    users.iter().try_for_each(|user| store::hold_user(conn, app_id, *user))
}

/// Gives a user an address on the word of the app's back end. What users have done themselves stands above it: an address
/// that somebody else has proven is refused, one that the user has proven stays, and so does a password that was set here.
/// A foreign hash is not added to an account whose user has proven its address here: it would be another's way in. Answers
/// which sessions have ended, to be told after the commit, and whose sends are to let go.
///
/// # Errors
/// 409 that names `email`.
pub(in crate::people) fn bring_in(
    conn: &mut Conn,
    platform: &Platform,
    to: To,
    grant: &BroughtIn<'_>,
) -> Result<(Vec<SessionId>, Vec<UserId>)> {
    let To { app_id, user, now_ms } = to;
    let email = grant.email;
    store::hold_email(conn, app_id, email)?;
    store::hold_user(conn, app_id, user)?;
    if store::owner(conn, app_id, email)?.is_some_and(|owner| owner != user) {
        return Err(refused("taken", "another user of this app has proven this address"));
    }
    if store::foreign_claim(conn, app_id, email)?.is_some_and(|claim| claim != user) {
        return Err(refused("duplicate", "this address has been brought in for another user of this app"));
    }
    let before = store::email_of(conn, app_id, user)?;
    let at_first = before.clone();
    let proven = before.as_ref().is_some_and(|(_, verified_ms)| verified_ms.is_some());
    if before.as_ref().is_some_and(|(had, _)| had != email && proven) {
        return Err(refused("conflict", "this user has proven another address, which stays"));
    }
    let anonymous = store::user(conn, app_id, user)?.is_some_and(|user| user.anonymous);
    let mut gone = Gone::default();
    if grant.verified && !proven {
        // Whoever claimed the address before may have been anybody: as with the first proof, nothing of theirs stays.
        gone = purge(conn, (app_id, user), now_ms)?;
    } else if anonymous {
        gone = end_others(conn, (app_id, user), None, (End::Upgraded, now_ms))?;
    }
    let before = if grant.verified { store::email_of(conn, app_id, user)? } else { before };
    let has_own = store::has_own_password(conn, app_id, user)?;
    let row = store::foreign(conn, app_id, user)?;
    if has_own && before.is_some_and(|(had, _)| had != email) {
        return Err(refused("conflict", "this user has signed up here with another address, which stays"));
    }
    if !has_own && (row.is_some() || !proven) {
        let sealed = match grant.password_hash {
            Some(hash) => Some(platform.master_key.seal(&platform.ids, &context(app_id, user), hash.as_bytes())?),
            // What was brought in before stays.
            None => row.and_then(|row| row.sealed),
        };
        let place = place(&platform.master_key, app_id, email);
        let row = ForeignRow { app_id, user_id: user, email: email.to_owned(), place, sealed, created_ms: now_ms };
        store::put_foreign(conn, &row)?;
    }
    if grant.verified && !proven && !store::own_email(conn, app_id, (user, email), now_ms)? {
        return Err(refused("taken", "another user of this app has proven this address"));
    }
    if anonymous {
        store::upgrade_user(conn, app_id, user, now_ms)?;
    }
    if store::email_of(conn, app_id, user)? != at_first {
        store::touch(conn, app_id, user, (vec!["email".to_owned()], now_ms))?;
    }
    Ok((gone.sessions, gone.users))
}

/// Gives users who were made in this transaction addresses that nobody has, each once.
///
/// # Errors
/// 409 when somebody has one of them by now: nothing was done.
pub(in crate::people) fn bring_in_new(
    conn: &mut Conn,
    platform: &Platform,
    (app_id, now_ms): (AppId, i64),
    grants: &[(UserId, BroughtIn<'_>)],
) -> Result<()> {
    let row = |(user, grant): &(UserId, BroughtIn<'_>)| {
        let (user_id, email) = (*user, grant.email.to_owned());
        let seal = |hash: &str| platform.master_key.seal(&platform.ids, &context(app_id, user_id), hash.as_bytes());
        let sealed = grant.password_hash.map(seal).transpose()?;
        let place = place(&platform.master_key, app_id, &email);
        Ok(ForeignRow { app_id, user_id, email, place, sealed, created_ms: now_ms })
    };
    store::insert_foreign(conn, &grants.iter().map(row).collect::<Result<Vec<_>>>()?)?;
    let proven = grants.iter().filter(|(_, grant)| grant.verified).map(|(user, grant)| (*user, grant.email));
    store::insert_emails(conn, app_id, (&proven.collect::<Vec<_>>(), now_ms))
}

/// Lets a user sign in, or no longer. Answers which sessions have ended, to be told after the commit, and whose sends are
/// to let go.
pub(in crate::people) fn disable(conn: &mut Conn, to: To, disabled: bool) -> Result<(Vec<SessionId>, Vec<UserId>)> {
    let To { app_id, user, now_ms } = to;
    store::hold_user(conn, app_id, user)?;
    let Some(gone) = grant::disable(conn, (app_id, user), disabled, now_ms)? else { return Ok((Vec::new(), Vec::new())) };
    store::touch(conn, app_id, user, (vec!["disabled".to_owned()], now_ms))?;
    Ok((gone.sessions, gone.users))
}

fn refused(code: &'static str, message: &str) -> Error {
    Problem::new(409, "email_taken", message).field("email", code, message).into()
}

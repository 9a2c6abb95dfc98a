//! Factors: what a user shows beside a password, or in its place.
//!
//! A user with an authenticator app, or with a passkey that is marked so, shows two factors to come in. A passkey alone
//! is two: the authenticator, and the finger or PIN that unlocked it. Recovery codes are for the day the phone is lost.

pub(super) mod passkey;
pub(super) mod recovery;
pub(super) mod totp;

use super::federation;
use super::methods::Method;
use super::store;
use crate::app::Mode;
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, UserId};
use crate::platform::Platform;
use crate::store::Conn;
use passkey::Assertion;
use serde::Serialize;

/// A second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// A code of an authenticator app.
    Totp,
    /// A passkey.
    Passkey,
    /// A recovery code.
    Recovery,
}

/// The second factors that a user can show; none when one is enough for them.
pub(super) fn asked(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Vec<Factor>> {
    let totp = store::totp(conn, app_id, user)?.is_some();
    let passkeys = store::second_factors(conn, app_id, user)?;
    if !totp && !passkeys.contains(&true) {
        return Ok(Vec::new());
    }
    let recovery = store::codes_left(conn, app_id, user)? > 0;
    let all = [(totp, Factor::Totp), (!passkeys.is_empty(), Factor::Passkey), (recovery, Factor::Recovery)];
    Ok(all.into_iter().filter_map(|(has, factor)| has.then_some(factor)).collect())
}

/// What somebody shows to be a user.
pub(super) enum Shown {
    Totp(Secret),
    Recovery(Secret),
    Passkey(Box<Assertion>),
}

/// Whether it is this user's, who is held; what was shown is used up. Commit, whatever comes back.
pub(super) fn check(
    conn: &mut Conn,
    platform: &Platform,
    (app_id, user, mode): (AppId, UserId, Mode),
    shown: &Shown,
) -> Result<Option<Method>> {
    store::hold_user(conn, app_id, user)?;
    let now_ms = platform.clock.now_ms();
    let good = match shown {
        Shown::Totp(code) => totp::take(conn, platform, (app_id, user), code)?.then_some(Method::Totp),
        Shown::Recovery(code) => {
            let hash = recovery::hash(platform, (app_id, user), code.expose());
            store::take_code(conn, (app_id, user), &hash, now_ms)?.then_some(Method::Recovery)
        }
        Shown::Passkey(assertion) => {
            passkey::assert(conn, platform, (app_id, mode, Some(user)), assertion)?.map(|_| Method::Passkey)
        }
    };
    Ok(good)
}

/// Gives a user recovery codes when they need a second factor and have none to fall back on; takes them away when they
/// need none any more.
pub(super) fn settle(conn: &mut Conn, platform: &Platform, (app_id, user): (AppId, UserId)) -> Result<Option<Vec<String>>> {
    if asked(conn, app_id, user)?.is_empty() {
        store::drop_codes(conn, app_id, user)?;
        return Ok(None);
    }
    match store::codes_left(conn, app_id, user)? {
        0 => recovery::renew(conn, platform, (app_id, user)).map(Some),
        _ => Ok(None),
    }
}

/// One answer for a token of a second factor that is unknown, was used or tried too often, or whose time is over.
pub(super) fn over() -> Error {
    Problem::new(401, "challenge_over", "This challenge is unknown, used up or too old: begin again.").into()
}

/// The answer to a code that is not the user's, or was used.
pub(super) fn wrong_code() -> Error {
    Problem::new(401, "invalid_code", "The code is wrong, or it was used before.").into()
}

/// Refuses to take the last way in from a user, who is held: two ways that go at once would not see each other go. Ask
/// after it was taken: the refusal undoes it.
pub(super) fn need_way_in(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    if has_way_in(conn, app_id, user)? {
        return Ok(());
    }
    let detail = "This is the user's last way to sign in. Set a password, prove an e-mail address, register a passkey or link an \
        identity first.";
    Err(Error::conflict("last_way_in", detail))
}

/// Whether a user can sign in by anything.
pub(super) fn has_way_in(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<bool> {
    let has = store::has_password(conn, app_id, user)?
        || store::email_of(conn, app_id, user)?.is_some_and(|(_, verified_ms)| verified_ms.is_some())
        || !store::second_factors(conn, app_id, user)?.is_empty()
        || federation::vouches(conn, app_id, user)?;
    Ok(has)
}

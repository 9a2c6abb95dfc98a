//! Pairs of e-mail and password hash: each names one account.

use super::foreign::{drop_foreign, foreign};
use super::users::{User, arriving};
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::Conn;
use crate::store::schema::passwords;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// An e-mail and the hash of its password.
#[derive(Debug, Clone)]
pub struct Credential {
    pub app_id: AppId,
    pub email: String,
    pub password_hash: String,
}

/// Whether a user has a password, of this system's making or of another one's.
pub fn has_password(conn: &mut Conn, app_id: AppId, user_id: UserId) -> Result<bool> {
    if foreign(conn, app_id, user_id)?.is_some_and(|row| row.sealed.is_some()) {
        return Ok(true);
    }
    has_own_password(conn, app_id, user_id)
}

/// Whether a user has a password that was set here.
pub fn has_own_password(conn: &mut Conn, app_id: AppId, user_id: UserId) -> Result<bool> {
    let found: Option<UserId> =
        on!(conn, c => passwords::table.find((app_id, user_id)).select(passwords::user_id).first(c).optional())?;
    Ok(found.is_some())
}

/// Whose a pair is.
pub fn holder(conn: &mut Conn, credential: &Credential) -> Result<Option<UserId>> {
    Ok(on!(conn, c => passwords::table
        .filter(passwords::app_id.eq(credential.app_id)
            .and(passwords::email.eq(&credential.email))
            .and(passwords::password_hash.eq(&credential.password_hash)))
        .select(passwords::user_id)
        .first(c)
        .optional())?)
}

/// The user of an account that is not disabled, who comes in.
pub fn account(conn: &mut Conn, credential: &Credential) -> Result<Option<User>> {
    let Some(id) = holder(conn, credential)? else { return Ok(None) };
    let user = arriving(conn, credential.app_id, id)?;
    // The password may have changed before its user was held.
    let still = holder(conn, credential)? == Some(id);
    Ok(user.filter(|_| still))
}

/// Claims an e-mail with a password for a user; false when the same pair has been claimed meanwhile.
pub fn claim(conn: &mut Conn, credential: &Credential, user_id: UserId, now_ms: i64) -> Result<bool> {
    let row = (
        passwords::app_id.eq(credential.app_id),
        passwords::user_id.eq(user_id),
        passwords::email.eq(&credential.email),
        passwords::password_hash.eq(&credential.password_hash),
        passwords::changed_ms.eq(now_ms),
    );
    let rows = on!(conn, c => diesel::insert_into(passwords::table)
        .values(row)
        .on_conflict((passwords::app_id, passwords::email, passwords::password_hash))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// Gives a user this password in place of the one they had. An unproven claim of a proven address gives way to its owner.
///
/// # Errors
/// 400 that names `new_password` when another account that claims the same address has it already.
pub fn set_password(conn: &mut Conn, credential: &Credential, (user_id, proven): (UserId, bool), now_ms: i64) -> Result<()> {
    let Credential { app_id, email, password_hash } = credential;
    let same = passwords::table
        .filter(passwords::app_id.eq(app_id).and(passwords::email.eq(email)).and(passwords::password_hash.eq(password_hash)))
        .filter(passwords::user_id.ne(user_id));
    if proven {
        on!(conn, c => diesel::delete(same).execute(c))?;
    }
    let row = (
        passwords::app_id.eq(app_id),
        passwords::user_id.eq(user_id),
        passwords::email.eq(email),
        passwords::password_hash.eq(password_hash),
        passwords::changed_ms.eq(now_ms),
    );
    let values = (passwords::email.eq(email), passwords::password_hash.eq(password_hash), passwords::changed_ms.eq(now_ms));
    let done = on!(conn, c => diesel::insert_into(passwords::table)
        .values(row)
        .on_conflict((passwords::app_id, passwords::user_id))
        .do_update()
        .set(values)
        .execute(c));
    match done {
        // Another system's hash of an earlier password has had its time.
        Ok(_) => drop_foreign(conn, *app_id, user_id),
        Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
            Err(Error::invalid("new_password", "taken", "choose another password"))
        }
        Err(other) => Err(other.into()),
    }
}

/// Takes a user's password away, and with it their unproven claim of an address.
pub fn drop_password(conn: &mut Conn, app_id: AppId, user_id: UserId) -> Result<()> {
    on!(conn, c => diesel::delete(passwords::table.find((app_id, user_id))).execute(c))?;
    drop_foreign(conn, app_id, user_id)
}

//! Authenticator apps and recovery codes.

use super::passkeys::drop_passkeys;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::Conn;
use crate::store::schema::{recovery_codes, totps};
use diesel::prelude::*;

/// An authenticator app of a user.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = totps)]
pub struct Totp {
    pub app_id: AppId,
    pub user_id: UserId,
    /// Its secret, sealed with the master key.
    pub sealed: Vec<u8>,
    /// The newest step of which a code was used.
    pub last_step: i64,
    pub created_ms: i64,
}

pub fn totp(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Option<Totp>> {
    Ok(on!(conn, c => totps::table.find((app_id, user)).select(Totp::as_select()).first(c).optional())?)
}

/// Stores a user's authenticator app; false when they have one already.
pub fn insert_totp(conn: &mut Conn, totp: &Totp) -> Result<bool> {
    let rows = on!(conn, c => diesel::insert_into(totps::table)
        .values(totp)
        .on_conflict((totps::app_id, totps::user_id))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// Uses up the code of a step and of all before it; false when somebody was faster.
pub fn take_step(conn: &mut Conn, (app_id, user): (AppId, UserId), step: i64) -> Result<bool> {
    let target = totps::table.filter(totps::app_id.eq(app_id).and(totps::user_id.eq(user)).and(totps::last_step.lt(step)));
    Ok(on!(conn, c => diesel::update(target).set(totps::last_step.eq(step)).execute(c))? == 1)
}

pub fn drop_totp(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    on!(conn, c => diesel::delete(totps::table.find((app_id, user))).execute(c))?;
    Ok(())
}

/// Gives a user, who is held, these recovery codes in place of the ones they had.
pub fn put_codes(conn: &mut Conn, (app_id, user): (AppId, UserId), hashes: &[String], now_ms: i64) -> Result<()> {
    drop_codes(conn, app_id, user)?;
    for hash in hashes {
        let row = (
            recovery_codes::app_id.eq(app_id),
            recovery_codes::user_id.eq(user),
            recovery_codes::code_hash.eq(hash),
            recovery_codes::created_ms.eq(now_ms),
        );
        on!(conn, c => diesel::insert_into(recovery_codes::table).values(row).execute(c))?;
    }
    Ok(())
}

/// Uses a recovery code up; false when it is none of this user's or was used.
pub fn take_code(conn: &mut Conn, (app_id, user): (AppId, UserId), hash: &str, now_ms: i64) -> Result<bool> {
    let target = recovery_codes::table.filter(
        recovery_codes::app_id
            .eq(app_id)
            .and(recovery_codes::user_id.eq(user))
            .and(recovery_codes::code_hash.eq(hash))
            .and(recovery_codes::used_ms.is_null()),
    );
    Ok(on!(conn, c => diesel::update(target).set(recovery_codes::used_ms.eq(now_ms)).execute(c))? == 1)
}

/// How many recovery codes a user has left.
pub fn codes_left(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<i64> {
    Ok(on!(conn, c => recovery_codes::table
        .filter(recovery_codes::app_id.eq(app_id).and(recovery_codes::user_id.eq(user)).and(recovery_codes::used_ms.is_null()))
        .count()
        .get_result(c))?)
}

pub fn drop_codes(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    let target = recovery_codes::table.filter(recovery_codes::app_id.eq(app_id).and(recovery_codes::user_id.eq(user)));
    on!(conn, c => diesel::delete(target).execute(c))?;
    Ok(())
}

/// Takes every factor from a user: authenticator app, recovery codes, passkeys.
pub fn drop_factors(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    drop_totp(conn, app_id, user)?;
    drop_codes(conn, app_id, user)?;
    drop_passkeys(conn, app_id, user)
}

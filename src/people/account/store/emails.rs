//! Addresses: proven ones, which belong to one account each, and claims that nobody has checked.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::schema::{emails, passwords};
use crate::store::{Conn, among};
use diesel::prelude::*;
use std::collections::HashMap;

/// Lets those who prove or claim an address wait for one another until they are done.
pub fn hold_email(conn: &mut Conn, app_id: AppId, email: &str) -> Result<()> {
    conn.serialise(&format!("email:{app_id}:{email}"))
}

/// Whose an address is: who has proven it.
pub fn owner(conn: &mut Conn, app_id: AppId, email: &str) -> Result<Option<UserId>> {
    Ok(on!(conn, c => emails::table.find((app_id, email)).select(emails::user_id).first(c).optional())?)
}

/// Who claimed an address first, with a password of their own, while nobody has proven it.
pub fn oldest_claim(conn: &mut Conn, app_id: AppId, email: &str) -> Result<Option<UserId>> {
    Ok(on!(conn, c => passwords::table
        .filter(passwords::app_id.eq(app_id).and(passwords::email.eq(email)))
        .order(passwords::user_id)
        .select(passwords::user_id)
        .first(c)
        .optional())?)
}

/// A user's address and since when it is proven; a claim has no such time.
pub fn email_of(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Option<(String, Option<i64>)>> {
    let proven: Option<(String, i64)> = on!(conn, c => emails::table
        .filter(emails::app_id.eq(app_id).and(emails::user_id.eq(user)))
        .select((emails::email, emails::verified_ms))
        .first(c)
        .optional())?;
    if let Some((email, verified_ms)) = proven {
        return Ok(Some((email, Some(verified_ms))));
    }
    let claim: Option<String> =
        on!(conn, c => passwords::table.find((app_id, user)).select(passwords::email).first(c).optional())?;
    Ok(claim.map(|email| (email, None)))
}

/// Gives an address to the user who has proven it, in place of the one they had; false when it is somebody else's.
pub fn own_email(conn: &mut Conn, app_id: AppId, (user, email): (UserId, &str), now_ms: i64) -> Result<bool> {
    let had = emails::table.filter(emails::app_id.eq(app_id).and(emails::user_id.eq(user)).and(emails::email.ne(email)));
    on!(conn, c => diesel::delete(had).execute(c))?;
    let row = (emails::app_id.eq(app_id), emails::email.eq(email), emails::user_id.eq(user), emails::verified_ms.eq(now_ms));
    on!(conn, c => diesel::insert_into(emails::table)
        .values(row)
        .on_conflict((emails::app_id, emails::email))
        .do_nothing()
        .execute(c))?;
    Ok(owner(conn, app_id, email)? == Some(user))
}

/// Takes a user's proven address from them.
pub fn disown_email(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    let target = emails::table.filter(emails::app_id.eq(app_id).and(emails::user_id.eq(user)));
    on!(conn, c => diesel::delete(target).execute(c))?;
    Ok(())
}

/// The addresses of users and whether they are proven; those who have none are absent.
pub fn emails_of(conn: &mut Conn, app_id: AppId, users: &[UserId]) -> Result<HashMap<UserId, (String, bool)>> {
    let claims: Vec<(UserId, String)> = on!(conn, c => passwords::table
        .filter(passwords::app_id.eq(app_id).and(among(passwords::user_id, users)))
        .select((passwords::user_id, passwords::email))
        .load(c))?;
    let proven: Vec<(UserId, String)> = on!(conn, c => emails::table
        .filter(emails::app_id.eq(app_id).and(among(emails::user_id, users)))
        .select((emails::user_id, emails::email))
        .load(c))?;
    let claims = claims.into_iter().map(|(user, email)| (user, (email, false)));
    Ok(claims.chain(proven.into_iter().map(|(user, email)| (user, (email, true)))).collect())
}

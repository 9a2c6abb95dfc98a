//! Addresses: proven ones, which belong to one account each, and claims that nobody has checked.

use super::foreign::{foreign, foreign_claim};
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::profile::{Person, Preferences, UserRow};
use crate::store::schema::{emails, foreign_passwords, passwords, users};
use crate::store::{Conn, among};
use diesel::prelude::*;
use std::collections::{HashMap, HashSet};

/// Lets those who prove or claim an address wait for one another until they are done.
pub fn hold_email(conn: &mut Conn, app_id: AppId, email: &str) -> Result<()> {
    conn.serialise(&format!("email:{app_id}:{email}"))
}

/// Whose an address is: who has proven it.
pub fn owner(conn: &mut Conn, app_id: AppId, email: &str) -> Result<Option<UserId>> {
    Ok(on!(conn, c => emails::table.find((app_id, email)).select(emails::user_id).first(c).optional())?)
}

/// Who claimed an address first, with a password of their own or by being brought in, while nobody has proven it.
pub fn oldest_claim(conn: &mut Conn, app_id: AppId, email: &str) -> Result<Option<UserId>> {
    // The back end's word comes before anybody's.
    if let Some(user) = foreign_claim(conn, app_id, email)? {
        return Ok(Some(user));
    }
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
    let claim = match claim {
        Some(claim) => Some(claim),
        None => foreign(conn, app_id, user)?.map(|row| row.email),
    };
    Ok(claim.map(|email| (email, None)))
}

/// A user with their address as [`email_of`] has it, but for what they wish to hear. One statement: it is what a signed-in
/// phone asks for all the time.
pub fn person_of(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Option<(Person, Option<(String, bool)>)>> {
    type Columns = (UserRow, Option<String>, Option<String>, Option<String>);
    let row: Option<Columns> = on!(conn, c => {
        let proven = emails::table.filter(emails::app_id.eq(app_id).and(emails::user_id.eq(user))).select(emails::email);
        let claimed = passwords::table.find((app_id, user)).select(passwords::email);
        let brought_in = foreign_passwords::table.find((app_id, user)).select(foreign_passwords::email);
        users::table
            .find((app_id, user))
            .filter(users::leaving_ms.is_null())
            .select((UserRow::as_select(), proven.single_value(), claimed.single_value(), brought_in.single_value()))
            .first(c)
            .optional()
    })?;
    Ok(row.map(|(row, proven, claimed, brought_in)| {
        let address = proven.map(|email| (email, true)).or_else(|| claimed.or(brought_in).map(|email| (email, false)));
        (row.person(Preferences::default()), address)
    }))
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
    let brought: Vec<(UserId, String)> = on!(conn, c => foreign_passwords::table
        .filter(foreign_passwords::app_id.eq(app_id).and(among(foreign_passwords::user_id, users)))
        .select((foreign_passwords::user_id, foreign_passwords::email))
        .load(c))?;
    let claims = brought.into_iter().chain(claims).map(|(user, email)| (user, (email, false)));
    Ok(claims.chain(proven.into_iter().map(|(user, email)| (user, (email, true)))).collect())
}

/// Those of these addresses that somebody has proven.
pub fn owned(conn: &mut Conn, app_id: AppId, all: &[&str]) -> Result<HashSet<String>> {
    let found: Vec<String> = on!(conn, c => emails::table
        .filter(emails::app_id.eq(app_id).and(among(emails::email, all)))
        .select(emails::email)
        .load(c))?;
    Ok(found.into_iter().collect())
}

/// Gives addresses that nobody has to users who have none.
///
/// # Errors
/// 409 when somebody has one of them.
pub fn insert_emails(conn: &mut Conn, app_id: AppId, (all, now_ms): (&[(UserId, &str)], i64)) -> Result<()> {
    let row = |(user, email): &(UserId, &str)| {
        (
            emails::app_id.eq(app_id),
            emails::email.eq((*email).to_owned()),
            emails::user_id.eq(*user),
            emails::verified_ms.eq(now_ms),
        )
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    on!(conn, c => diesel::insert_into(emails::table).values(&rows).execute(c))?;
    Ok(())
}

//! Addresses that the app's back end brought in, with the hashes of another system: each is its account's claim.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::schema::foreign_passwords;
use crate::store::{Conn, among};
use diesel::prelude::*;

/// A row of a user.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = foreign_passwords, treat_none_as_default_value = false, treat_none_as_null = true)]
pub struct ForeignRow {
    pub app_id: AppId,
    pub user_id: UserId,
    pub email: String,
    pub place: String,
    /// The hash, sealed with the master key; none when the address came alone.
    pub sealed: Option<Vec<u8>>,
    pub created_ms: i64,
}

/// What was brought in for a user.
pub fn foreign(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Option<ForeignRow>> {
    Ok(on!(conn, c => foreign_passwords::table.find((app_id, user)).select(ForeignRow::as_select()).first(c).optional())?)
}

/// For whom an address was brought in.
pub fn foreign_claim(conn: &mut Conn, app_id: AppId, email: &str) -> Result<Option<UserId>> {
    Ok(on!(conn, c => foreign_passwords::table
        .filter(foreign_passwords::app_id.eq(app_id).and(foreign_passwords::email.eq(email)))
        .select(foreign_passwords::user_id)
        .first(c)
        .optional())?)
}

/// Those of these addresses that were brought in for somebody.
pub fn foreign_claimed(conn: &mut Conn, app_id: AppId, emails: &[&str]) -> Result<Vec<String>> {
    Ok(on!(conn, c => foreign_passwords::table
        .filter(foreign_passwords::app_id.eq(app_id).and(among(foreign_passwords::email, emails)))
        .select(foreign_passwords::email)
        .load(c))?)
}

/// The row with a hash at this place or at the next one, round the ring; none when the app has no such row.
pub fn foreign_neighbour(conn: &mut Conn, app_id: AppId, place: &str) -> Result<Option<ForeignRow>> {
    let of_app =
        || foreign_passwords::table.filter(foreign_passwords::app_id.eq(app_id)).filter(foreign_passwords::sealed.is_not_null());
    let after: Option<ForeignRow> = on!(conn, c => of_app()
        .filter(foreign_passwords::place.ge(place))
        .order(foreign_passwords::place)
        .select(ForeignRow::as_select())
        .first(c)
        .optional())?;
    if after.is_some() {
        return Ok(after);
    }
    Ok(on!(conn, c => of_app().order(foreign_passwords::place).select(ForeignRow::as_select()).first(c).optional())?)
}

/// Writes what was brought in for users who had nothing.
///
/// # Errors
/// 409 when an address was brought in for somebody else.
pub fn insert_foreign(conn: &mut Conn, rows: &[ForeignRow]) -> Result<()> {
    on!(conn, c => diesel::insert_into(foreign_passwords::table).values(rows).execute(c))?;
    Ok(())
}

/// Writes what was brought in for a user, in place of what there was. The address must be nobody else's here.
pub fn put_foreign(conn: &mut Conn, row: &ForeignRow) -> Result<()> {
    on!(conn, c => diesel::insert_into(foreign_passwords::table)
        .values(row)
        .on_conflict((foreign_passwords::app_id, foreign_passwords::user_id))
        .do_update()
        .set(row)
        .execute(c))?;
    Ok(())
}

pub fn drop_foreign(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    on!(conn, c => diesel::delete(foreign_passwords::table.find((app_id, user))).execute(c))?;
    Ok(())
}

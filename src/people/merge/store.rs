//! Merges in the database.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::schema::{merges, users};
use crate::store::{Conn, among};
use diesel::prelude::*;
use std::collections::HashMap;

/// A merge that was asked for.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = merges)]
pub struct Begun {
    /// The tenant.
    #[diesel(column_name = app_id)]
    pub app: AppId,
    /// The anonymous user.
    #[diesel(column_name = from_id)]
    pub from: UserId,
    /// The account.
    #[diesel(column_name = into_id)]
    pub into: UserId,
    /// From when it is to be looked at, in UTC milliseconds.
    pub asked_ms: i64,
    /// When what decides moved, in UTC milliseconds.
    pub began_ms: Option<i64>,
}

pub(super) fn begin(conn: &mut Conn, app: AppId, (from, into): (UserId, UserId), now_ms: i64) -> Result<bool> {
    let there = |conn: &mut Conn, user: UserId| -> Result<Option<bool>> {
        Ok(on!(conn, c => users::table
            .filter(users::app_id.eq(app).and(users::id.eq(user)).and(users::leaving_ms.is_null()))
            .select(users::anonymous)
            .first(c)
            .optional())?)
    };
    if from == into || there(conn, from)? != Some(true) || there(conn, into)?.is_none() {
        return Ok(false);
    }
    let row = (merges::app_id.eq(app), merges::from_id.eq(from), merges::into_id.eq(into), merges::asked_ms.eq(now_ms));
    let new = on!(conn, c => diesel::insert_into(merges::table).values(row).on_conflict_do_nothing().execute(c))?;
    // Whoever meant the anonymous user means the account now.
    on!(conn, c => diesel::update(merges::table.filter(merges::app_id.eq(app).and(merges::into_id.eq(from))))
        .set(merges::into_id.eq(into))
        .execute(c))?;
    Ok(new == 1)
}

pub(super) fn meant(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<HashMap<UserId, UserId>> {
    let rows: Vec<(UserId, UserId)> = on!(conn, c => merges::table
        .filter(merges::app_id.eq(app).and(among(merges::from_id, ids)))
        .select((merges::from_id, merges::into_id))
        .load(c))?;
    Ok(rows.into_iter().collect())
}

pub(super) fn next(conn: &mut Conn, now_ms: i64) -> Result<Option<Begun>> {
    Ok(on!(conn, c => merges::table
        .filter(merges::ended_ms.is_null().and(merges::asked_ms.le(now_ms)))
        .order((merges::asked_ms, merges::from_id))
        .select(Begun::as_select())
        .first(c)
        .optional())?)
}

pub(super) fn start(conn: &mut Conn, merge: &Begun, now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(users::table.filter(users::app_id.eq(merge.app).and(users::id.eq(merge.from))))
        .set(users::leaving_ms.eq(now_ms))
        .execute(c))?;
    on!(conn, c => diesel::update(merges::table.find((merge.app, merge.from)))
        .set(merges::began_ms.eq(now_ms))
        .execute(c))?;
    Ok(())
}

pub(super) fn postpone(conn: &mut Conn, merge: &Begun, until_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(merges::table.find((merge.app, merge.from)))
        .set(merges::asked_ms.eq(until_ms))
        .execute(c))?;
    Ok(())
}

pub(super) fn end(conn: &mut Conn, merge: &Begun, now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(merges::table.find((merge.app, merge.from))).set(merges::ended_ms.eq(now_ms)).execute(c))?;
    Ok(())
}

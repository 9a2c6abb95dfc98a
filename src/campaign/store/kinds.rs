//! Moment kinds in the database.

use super::room_for_one;
use crate::campaign::Kind;
use crate::error::{Error, Result};
use crate::id::AppId;
use crate::on;
use crate::store::{Conn, Doc, schema::moment_kinds};
use diesel::prelude::*;

/// Most kinds of one app.
const KINDS_MAX: i64 = 1_000;

/// A stored kind.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = moment_kinds, treat_none_as_default_value = false)]
pub struct KindRow {
    pub app_id: AppId,
    pub key: String,
    pub spec: Doc<Kind>,
    pub revision: i64,
    pub created_ms: i64,
    pub updated_ms: i64,
}

pub fn find(conn: &mut Conn, app: AppId, key: &str) -> Result<Option<KindRow>> {
    Ok(on!(conn, c => moment_kinds::table.find((app, key)).select(KindRow::as_select()).first(c).optional())?)
}

pub fn get(conn: &mut Conn, app: AppId, key: &str) -> Result<KindRow> {
    find(conn, app, key)?.ok_or_else(|| Error::not_found("moment kind"))
}

pub fn page(conn: &mut Conn, app: AppId, (after, rows): (&str, i64)) -> Result<Vec<KindRow>> {
    Ok(on!(conn, c => moment_kinds::table
        .filter(moment_kinds::app_id.eq(app).and(moment_kinds::key.gt(after)))
        .order(moment_kinds::key).limit(rows).select(KindRow::as_select()).load(c))?)
}

pub fn all(conn: &mut Conn, app: AppId) -> Result<Vec<KindRow>> {
    Ok(on!(conn, c => moment_kinds::table.filter(moment_kinds::app_id.eq(app)).order(moment_kinds::key)
        .select(KindRow::as_select()).load(c))?)
}

pub fn insert(conn: &mut Conn, row: &KindRow) -> Result<()> {
    let count = on!(conn, c => moment_kinds::table.filter(moment_kinds::app_id.eq(row.app_id)).count().get_result(c))?;
    room_for_one(count, KINDS_MAX, "moment kinds")?;
    on!(conn, c => diesel::insert_into(moment_kinds::table).values(row).execute(c))?;
    Ok(())
}

pub fn update(conn: &mut Conn, row: &KindRow) -> Result<()> {
    let target = moment_kinds::table.find((row.app_id, &row.key));
    let values =
        (moment_kinds::spec.eq(&row.spec), moment_kinds::revision.eq(row.revision), moment_kinds::updated_ms.eq(row.updated_ms));
    on!(conn, c => diesel::update(target).set(values).execute(c))?;
    Ok(())
}

pub fn delete(conn: &mut Conn, app: AppId, key: &str) -> Result<()> {
    on!(conn, c => diesel::delete(moment_kinds::table.find((app, key))).execute(c))?;
    Ok(())
}

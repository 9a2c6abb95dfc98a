//! Declared types of events, and the people that subjects name.

use super::CHUNK;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::schema::{event_types, users as people};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What the log has to know of a type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rule {
    /// The most useful age, in milliseconds.
    pub max_useful_age_ms: Option<i64>,
    /// Whether a moment kind wants it.
    pub listened: bool,
}

/// A declared type.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = event_types)]
pub struct TypeRow {
    pub type_: String,
    pub json_schema: Option<Doc<Value>>,
    pub max_useful_age_ms: Option<i64>,
    pub listened: bool,
    pub created_ms: i64,
    pub updated_ms: i64,
}

pub fn rules(conn: &mut Conn, app: AppId, kinds: &[String]) -> Result<HashMap<String, Rule>> {
    let mut found = HashMap::new();
    for chunk in kinds.chunks(CHUNK) {
        let rows: Vec<(String, Option<i64>, bool)> = on!(conn, c => event_types::table
            .filter(event_types::app_id.eq(app).and(event_types::type_.eq_any(chunk)))
            .select((event_types::type_, event_types::max_useful_age_ms, event_types::listened)).load(c))?;
        let rule = |(kind, max_useful_age_ms, listened)| (kind, Rule { max_useful_age_ms, listened });
        found.extend(rows.into_iter().map(rule));
    }
    Ok(found)
}

pub fn types(conn: &mut Conn, app: AppId, kinds: &[String]) -> Result<Vec<TypeRow>> {
    let mut found = Vec::new();
    for chunk in kinds.chunks(CHUNK) {
        let rows: Vec<TypeRow> = on!(conn, c => event_types::table
            .filter(event_types::app_id.eq(app).and(event_types::type_.eq_any(chunk)))
            .select(TypeRow::as_select()).load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The names of the types that have a schema.
pub fn types_with_schema(conn: &mut Conn, app: AppId) -> Result<HashSet<String>> {
    let names: Vec<String> = on!(conn, c => event_types::table
        .filter(event_types::app_id.eq(app).and(event_types::json_schema.is_not_null()))
        .select(event_types::type_).load(c))?;
    Ok(names.into_iter().collect())
}

pub fn type_page(conn: &mut Conn, app: AppId, page: (&str, i64)) -> Result<Vec<TypeRow>> {
    Ok(on!(conn, c => event_types::table
        .filter(event_types::app_id.eq(app).and(event_types::type_.gt(page.0)))
        .order(event_types::type_).limit(page.1).select(TypeRow::as_select()).load(c))?)
}

pub fn listen(conn: &mut Conn, app: AppId, kind: &str, now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::insert_into(event_types::table)
        .values((event_types::app_id.eq(app), event_types::type_.eq(kind), event_types::listened.eq(true),
            event_types::created_ms.eq(now_ms), event_types::updated_ms.eq(now_ms)))
        .on_conflict((event_types::app_id, event_types::type_)).do_update()
        .set((event_types::listened.eq(true), event_types::updated_ms.eq(now_ms)))
        .execute(c))?;
    Ok(())
}

pub fn put_type(conn: &mut Conn, app: AppId, row: &TypeRow) -> Result<()> {
    on!(conn, c => diesel::insert_into(event_types::table)
        .values((event_types::app_id.eq(app), event_types::type_.eq(&row.type_), event_types::json_schema.eq(&row.json_schema),
            event_types::max_useful_age_ms.eq(row.max_useful_age_ms), event_types::listened.eq(row.listened),
            event_types::created_ms.eq(row.created_ms), event_types::updated_ms.eq(row.updated_ms)))
        .on_conflict((event_types::app_id, event_types::type_)).do_update()
        .set((event_types::json_schema.eq(&row.json_schema), event_types::max_useful_age_ms.eq(row.max_useful_age_ms),
            event_types::updated_ms.eq(row.updated_ms)))
        .execute(c))?;
    Ok(())
}

/// Forgets what was declared of a type; whether moments want it is not theirs to forget.
pub fn delete_type(conn: &mut Conn, app: AppId, kind: &str) -> Result<()> {
    on!(conn, c => diesel::delete(event_types::table.filter(event_types::app_id.eq(app).and(event_types::type_.eq(kind))
        .and(event_types::listened.eq(false)))).execute(c))?;
    on!(conn, c => diesel::update(event_types::table.find((app, kind)))
        .set((event_types::json_schema.eq(None::<Doc<Value>>), event_types::max_useful_age_ms.eq(None::<i64>)))
        .execute(c))?;
    Ok(())
}

/// Which of these users exist; one who is leaving does not.
pub fn users(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<HashSet<UserId>> {
    let mut found = HashSet::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<UserId> = on!(conn, c => people::table
            .filter(people::app_id.eq(app).and(people::id.eq_any(chunk)).and(people::leaving_ms.is_null()))
            .select(people::id).load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

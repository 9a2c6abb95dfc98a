//! What imports hold: figures and errors without a word of a person, and lines that wait, sealed, for minutes.

use super::store::State;
use crate::error::Result;
use crate::id::{AppId, ImportId};
use crate::on;
use crate::store::Conn;
use crate::store::schema::{import_chunks, imports};
use diesel::prelude::*;

/// Forgets imports that were done before a time. Answers how many there were.
///
/// # Errors
/// What the database says.
pub fn expire(conn: &mut Conn, app: AppId, (before_ms, limit): (i64, i64)) -> Result<usize> {
    let ids: Vec<ImportId> = on!(conn, c => imports::table
        .filter(imports::app_id.eq(app).and(imports::finished_ms.lt(before_ms)))
        .limit(limit)
        .select(imports::id)
        .load(c))?;
    forget(conn, app, &ids)
}

/// Forgets imports whose body did not arrive before a time, and what there was of it. Answers how many there were.
///
/// # Errors
/// What the database says.
pub fn expire_halves(conn: &mut Conn, app: AppId, (before_ms, limit): (i64, i64)) -> Result<usize> {
    let ids: Vec<ImportId> = on!(conn, c => imports::table
        .filter(imports::app_id.eq(app).and(imports::finished_ms.is_null()))
        .filter(imports::state.eq(State::Receiving.name()).and(imports::worked_ms.lt(before_ms)))
        .limit(limit)
        .select(imports::id)
        .load(c))?;
    forget(conn, app, &ids)
}

fn forget(conn: &mut Conn, app: AppId, ids: &[ImportId]) -> Result<usize> {
    for chunk in ids.chunks(500) {
        let lines = import_chunks::table.filter(import_chunks::app_id.eq(app).and(import_chunks::import_id.eq_any(chunk)));
        on!(conn, c => diesel::delete(lines).execute(c))?;
        let jobs = imports::table.filter(imports::app_id.eq(app).and(imports::id.eq_any(chunk)));
        on!(conn, c => diesel::delete(jobs).execute(c))?;
    }
    Ok(ids.len())
}

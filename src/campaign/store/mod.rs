//! Kinds, offers, campaigns and their runs in the database, and the revision by which a catalogue knows that it is stale.

pub(super) mod campaigns;
pub(super) mod kinds;
pub(super) mod offers;
pub(super) mod runs;

use crate::error::{Error, Result};
use crate::id::AppId;
use crate::on;
use crate::store::{Conn, schema::catalogues};
use diesel::prelude::*;

/// How many values one `in (…)` takes.
const CHUNK: usize = 500;

/// Says that something which a catalogue holds changes, and lets nobody else change it until the transaction ends: the
/// first statement of every such transaction, so that what it reads and judges is still so when it writes. Whoever
/// writes decisions takes it first as well, and so nobody waits in a circle.
pub(super) fn touch(conn: &mut Conn, app: AppId) -> Result<()> {
    on!(conn, c => diesel::insert_into(catalogues::table)
        .values((catalogues::app_id.eq(app), catalogues::revision.eq(1_i64)))
        .on_conflict(catalogues::app_id)
        .do_update()
        .set(catalogues::revision.eq(catalogues::revision + 1))
        .execute(c))?;
    Ok(())
}

/// The revision of what a catalogue holds; 0 before the first change.
pub(super) fn revision(conn: &mut Conn, app: AppId) -> Result<i64> {
    let found = on!(conn, c => catalogues::table.find(app).select(catalogues::revision).first(c).optional())?;
    Ok(found.unwrap_or(0))
}

/// Keeps the catalogue from moving until the transaction ends, if it still is at this revision.
pub(super) fn hold(conn: &mut Conn, app: AppId, revision: i64) -> Result<bool> {
    // A write of the same value: the portable way to lock a row. Before the first change there is no row, and nothing
    // that could speak.
    let target = catalogues::table.filter(catalogues::app_id.eq(app).and(catalogues::revision.eq(revision)));
    let held = on!(conn, c => diesel::update(target).set(catalogues::revision.eq(revision)).execute(c))?;
    Ok(held == 1 || revision == 0)
}

/// Refuses one more when an app has as many as it may.
fn room_for_one(count: i64, most: i64, what: &str) -> Result<()> {
    if count < most {
        return Ok(());
    }
    Err(Error::conflict("too_many", format!("An app may have at most {most} {what}.")))
}

//! Partners in the database; their keys are kept by `app`.

use crate::error::{Error, Result};
use crate::id::{AppId, PartnerId};
use crate::on;
use crate::store::{Conn, schema::partners};
use diesel::prelude::*;

/// Most partners of one app.
const PARTNERS_MAX: i64 = 10_000;

/// A stored partner.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = partners, treat_none_as_default_value = false)]
pub(super) struct PartnerRow {
    pub(super) app_id: AppId,
    pub(super) id: PartnerId,
    pub(super) name: String,
    pub(super) created_ms: i64,
}

pub(super) fn find(conn: &mut Conn, app: AppId, id: PartnerId) -> Result<Option<PartnerRow>> {
    Ok(on!(conn, c => partners::table.find((app, id)).select(PartnerRow::as_select()).first(c).optional())?)
}

pub(super) fn page(conn: &mut Conn, app: AppId, (after, rows): (&str, i64)) -> Result<Vec<PartnerRow>> {
    Ok(on!(conn, c => partners::table
        .filter(partners::app_id.eq(app).and(partners::id.gt(after)))
        .order(partners::id).limit(rows).select(PartnerRow::as_select()).load(c))?)
}

pub(super) fn insert(conn: &mut Conn, row: &PartnerRow) -> Result<()> {
    let count: i64 = on!(conn, c => partners::table.filter(partners::app_id.eq(row.app_id)).count().get_result(c))?;
    if count >= PARTNERS_MAX {
        return Err(Error::conflict("too_many", format!("An app may have at most {PARTNERS_MAX} partners.")));
    }
    on!(conn, c => diesel::insert_into(partners::table).values(row).execute(c))?;
    Ok(())
}

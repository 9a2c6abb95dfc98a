//! Campaigns in the database.

use super::room_for_one;
use crate::campaign::{Campaign, Status};
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId};
use crate::on;
use crate::store::{Conn, Doc, schema::campaigns};
use diesel::prelude::*;

/// Most campaigns of one app that have not ended.
const CAMPAIGNS_MAX: i64 = 5_000;

/// A stored campaign.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = campaigns, treat_none_as_default_value = false)]
pub struct CampaignRow {
    pub app_id: AppId,
    pub id: CampaignId,
    pub name: String,
    pub status: String,
    pub spec: Doc<Campaign>,
    pub revision: i64,
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl CampaignRow {
    pub fn status(&self) -> Result<Status> {
        Status::parse(&self.status).map_err(|_| Error::broken("a stored campaign has an unknown status"))
    }
}

pub fn get(conn: &mut Conn, app: AppId, id: CampaignId) -> Result<CampaignRow> {
    let found = on!(conn, c => campaigns::table.find((app, id)).select(CampaignRow::as_select()).first(c).optional())?;
    found.ok_or_else(|| Error::not_found("campaign"))
}

pub fn page(conn: &mut Conn, app: AppId, (after, rows): (&str, i64)) -> Result<Vec<CampaignRow>> {
    Ok(on!(conn, c => campaigns::table
        .filter(campaigns::app_id.eq(app).and(campaigns::id.gt(after)))
        .order(campaigns::id).limit(rows).select(CampaignRow::as_select()).load(c))?)
}

pub fn with_status(conn: &mut Conn, app: AppId, statuses: &[Status]) -> Result<Vec<CampaignRow>> {
    let names: Vec<&str> = statuses.iter().map(|status| status.name()).collect();
    Ok(on!(conn, c => campaigns::table
        .filter(campaigns::app_id.eq(app).and(campaigns::status.eq_any(&names)))
        .order(campaigns::id).select(CampaignRow::as_select()).load(c))?)
}

pub fn insert(conn: &mut Conn, row: &CampaignRow) -> Result<()> {
    let open = campaigns::status.ne(Status::Ended.name());
    let count = on!(conn, c => campaigns::table.filter(campaigns::app_id.eq(row.app_id).and(open)).count().get_result(c))?;
    room_for_one(count, CAMPAIGNS_MAX, "campaigns that have not ended")?;
    on!(conn, c => diesel::insert_into(campaigns::table).values(row).execute(c))?;
    Ok(())
}

pub fn update(conn: &mut Conn, row: &CampaignRow) -> Result<()> {
    let target = campaigns::table.find((row.app_id, row.id));
    let values = (
        campaigns::name.eq(&row.name),
        campaigns::status.eq(&row.status),
        campaigns::spec.eq(&row.spec),
        campaigns::revision.eq(row.revision),
        campaigns::updated_ms.eq(row.updated_ms),
    );
    on!(conn, c => diesel::update(target).set(values).execute(c))?;
    Ok(())
}

pub fn delete(conn: &mut Conn, app: AppId, id: CampaignId) -> Result<()> {
    on!(conn, c => diesel::delete(campaigns::table.find((app, id))).execute(c))?;
    Ok(())
}

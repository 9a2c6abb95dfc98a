//! The walks of scheduled campaigns through their audience, with durable cursors.

use crate::campaign::Status;
use crate::error::Result;
use crate::id::{AppId, CampaignId, UserId};
use crate::on;
use crate::store::{
    Conn,
    schema::{campaign_runs, campaigns},
};
use diesel::prelude::*;
use std::collections::HashSet;

const WAITING: &str = "waiting";
const WALKING: &str = "walking";
const DONE: &str = "done";
const CANCELLED: &str = "cancelled";

/// A stored run.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = campaign_runs, treat_none_as_default_value = false)]
pub struct RunRow {
    pub app_id: AppId,
    pub campaign_id: CampaignId,
    pub zone: String,
    pub due_ms: i64,
    pub cursor_user_id: Option<UserId>,
    pub state: String,
    pub visited: i64,
}

impl RunRow {
    pub fn new(app_id: AppId, campaign_id: CampaignId, (zone, due_ms): (String, i64)) -> Self {
        Self { app_id, campaign_id, zone, due_ms, cursor_user_id: None, state: WAITING.to_owned(), visited: 0 }
    }
}

/// Adds runs; one that is there already stays as it is.
pub fn insert(conn: &mut Conn, rows: &[RunRow]) -> Result<()> {
    for row in rows {
        on!(conn, c => diesel::insert_into(campaign_runs::table).values(row)
            .on_conflict((campaign_runs::app_id, campaign_runs::campaign_id, campaign_runs::zone)).do_nothing().execute(c))?;
    }
    Ok(())
}

/// Runs of live campaigns that are due, the earliest first.
pub fn due(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<RunRow>> {
    let of_run = campaigns::app_id.eq(campaign_runs::app_id).and(campaigns::id.eq(campaign_runs::campaign_id));
    Ok(on!(conn, c => campaign_runs::table
        .inner_join(campaigns::table.on(of_run))
        .filter(campaign_runs::state.eq_any([WAITING, WALKING]).and(campaign_runs::due_ms.le(now_ms)))
        .filter(campaigns::status.eq(Status::Live.name()))
        .order((campaign_runs::due_ms, campaign_runs::campaign_id, campaign_runs::zone))
        .limit(limit)
        .select(RunRow::as_select()).load(c))?)
}

/// When the next run of a live campaign is due.
pub fn next_due_ms(conn: &mut Conn) -> Result<Option<i64>> {
    let of_run = campaigns::app_id.eq(campaign_runs::app_id).and(campaigns::id.eq(campaign_runs::campaign_id));
    Ok(on!(conn, c => campaign_runs::table
        .inner_join(campaigns::table.on(of_run))
        .filter(campaign_runs::state.eq_any([WAITING, WALKING]))
        .filter(campaigns::status.eq(Status::Live.name()))
        .select(diesel::dsl::min(campaign_runs::due_ms)).first(c))?)
}

/// The zones that a campaign has runs for.
pub fn zones(conn: &mut Conn, app: AppId, id: CampaignId) -> Result<HashSet<String>> {
    let found: Vec<String> = on!(conn, c => campaign_runs::table
        .filter(campaign_runs::app_id.eq(app).and(campaign_runs::campaign_id.eq(id)))
        .select(campaign_runs::zone).load(c))?;
    Ok(found.into_iter().collect())
}

/// Moves a run's cursor.
pub fn advance(conn: &mut Conn, run: &RunRow, done: bool) -> Result<()> {
    let target = campaign_runs::table.find((run.app_id, run.campaign_id, &run.zone));
    let values = (
        campaign_runs::cursor_user_id.eq(run.cursor_user_id),
        campaign_runs::visited.eq(run.visited),
        campaign_runs::due_ms.eq(run.due_ms),
        campaign_runs::state.eq(if done { DONE } else { WALKING }),
    );
    on!(conn, c => diesel::update(target.filter(campaign_runs::state.eq_any([WAITING, WALKING]))).set(values).execute(c))?;
    Ok(())
}

/// Ends what is left of a campaign's runs.
pub fn cancel(conn: &mut Conn, app: AppId, id: CampaignId) -> Result<()> {
    let open = campaign_runs::state.eq_any([WAITING, WALKING]);
    let target = campaign_runs::table.filter(campaign_runs::app_id.eq(app).and(campaign_runs::campaign_id.eq(id)).and(open));
    on!(conn, c => diesel::update(target).set(campaign_runs::state.eq(CANCELLED)).execute(c))?;
    Ok(())
}

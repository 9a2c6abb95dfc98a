//! Scheduled campaigns: which walk is due, whom it meets next, and how far it has come.

use crate::error::Result;
use crate::id::{AppId, CampaignId, UserId};
use crate::on;
use crate::store::Conn;
use crate::store::schema::{campaign_runs, decisions, users};
use diesel::prelude::*;
use std::collections::HashSet;

/// The zone of a walk over everybody.
pub(in crate::moment) const EVERYWHERE: &str = "*";

/// One walk through an audience.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(in crate::moment) struct Run {
    pub app_id: AppId,
    pub campaign_id: CampaignId,
    pub zone: String,
    pub due_ms: i64,
    pub cursor_user_id: Option<UserId>,
    pub visited: i64,
}

/// Walks whose time has come and that are not done, the earliest first.
pub(in crate::moment) fn due_runs(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<Run>> {
    Ok(on!(conn, c => campaign_runs::table
        .filter(campaign_runs::state.eq_any(["waiting", "walking"]).and(campaign_runs::due_ms.le(now_ms)))
        .order((campaign_runs::due_ms, campaign_runs::campaign_id, campaign_runs::zone))
        .limit(limit)
        .select((
            campaign_runs::app_id,
            campaign_runs::campaign_id,
            campaign_runs::zone,
            campaign_runs::due_ms,
            campaign_runs::cursor_user_id,
            campaign_runs::visited,
        ))
        .load(c))?)
}

/// When the next walk begins.
pub(in crate::moment) fn next_run_ms(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(on!(conn, c => campaign_runs::table
        .filter(campaign_runs::state.eq("waiting"))
        .select(diesel::dsl::min(campaign_runs::due_ms))
        .first(c))?)
}

/// The next users of a walk, in id order.
pub(in crate::moment) fn targets(conn: &mut Conn, run: &Run, limit: i64) -> Result<Vec<UserId>> {
    let after = run.cursor_user_id.map_or_else(String::new, |id| id.to_string());
    Ok(on!(conn, c => {
        let mut query = users::table
            .filter(users::app_id.eq(run.app_id).and(users::disabled.eq(false)).and(users::id.gt(&after)))
            .into_boxed();
        if run.zone != EVERYWHERE {
            query = query.filter(users::zone.eq(&run.zone));
        }
        query.order(users::id).limit(limit).select(users::id).load(c)
    })?)
}

/// Which of these users a campaign has decided about already: one who moved from zone to zone is met twice.
pub(in crate::moment) fn met(conn: &mut Conn, run: &Run, ids: &[UserId]) -> Result<HashSet<UserId>> {
    let mut found = HashSet::new();
    for chunk in ids.chunks(500) {
        let rows: Vec<UserId> = on!(conn, c => decisions::table
            .filter(decisions::app_id.eq(run.app_id).and(decisions::campaign_id.eq(run.campaign_id)))
            .filter(decisions::moment_id.is_null().and(decisions::user_id.eq_any(chunk)))
            .select(decisions::user_id)
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// Moves the cursor on; false when somebody else has moved it, or the walk was stopped.
pub(in crate::moment) fn advance(conn: &mut Conn, run: &Run, cursor: Option<UserId>, visited: i64) -> Result<bool> {
    let state = if cursor.is_some() { "walking" } else { "done" };
    let cursor = cursor.or(run.cursor_user_id);
    let changed = on!(conn, c => diesel::update(campaign_runs::table.find((run.app_id, run.campaign_id, &run.zone)))
        .filter(campaign_runs::state.eq_any(["waiting", "walking"]))
        .filter(campaign_runs::visited.eq(run.visited))
        .set((
            campaign_runs::state.eq(state),
            campaign_runs::cursor_user_id.eq(cursor),
            campaign_runs::visited.eq(campaign_runs::visited + visited),
        ))
        .execute(c))?;
    Ok(changed == 1)
}

//! What is read for a decision, and what is checked again before it is written.

use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, UserId, WorkId};
use crate::moment::context::HeardBy;
use crate::moment::input::Heard;
use crate::on;
use crate::store::Conn;
use crate::store::schema::{choices, decisions, lane_work, moments};
use diesel::prelude::*;
use std::collections::{HashMap, HashSet};

/// Ids of one statement.
const IDS_MAX: usize = 500;

/// A moment of a user that may still be open, or cooling down.
#[derive(Debug, Clone, Queryable)]
pub(in crate::moment) struct OpenMoment {
    pub user_id: UserId,
    pub kind: String,
    pub key: String,
    pub closes_ms: i64,
    pub test: bool,
}

/// The moments of these users that close after a time.
pub(in crate::moment) fn moments_of(conn: &mut Conn, app: AppId, users: &[UserId], after_ms: i64) -> Result<Vec<OpenMoment>> {
    let mut found = Vec::new();
    for chunk in users.chunks(IDS_MAX) {
        let rows: Vec<OpenMoment> = on!(conn, c => moments::table
            .filter(moments::app_id.eq(app).and(moments::user_id.eq_any(chunk)).and(moments::closes_ms.gt(after_ms)))
            .order(moments::id)
            .select((moments::user_id, moments::kind, moments::key, moments::closes_ms, moments::test))
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The choices that count and are planned after a time: whose, by which decision, and what caps need of them. What is not
/// held was handed over by `now_ms`, whatever the clock said at that time: it may have been set back since.
pub(in crate::moment) fn heard(
    conn: &mut Conn,
    app: AppId,
    users: &[UserId],
    (after_ms, now_ms): (i64, i64),
) -> Result<Vec<(UserId, HeardBy, Heard)>> {
    let mut found = Vec::new();
    for chunk in users.chunks(IDS_MAX) {
        type Row = (ChoiceId, DecisionId, UserId, CampaignId, Option<String>, i64, bool);
        let rows: Vec<Row> = on!(conn, c => choices::table
            .filter(choices::app_id.eq(app).and(choices::user_id.eq_any(chunk)).and(choices::planned_ms.gt(after_ms)))
            .filter(choices::counts.eq(true).and(choices::critical.eq(false)))
            .order((choices::planned_ms, choices::id))
            .select((
                choices::id,
                choices::decision_id,
                choices::user_id,
                choices::campaign_id,
                choices::category,
                choices::planned_ms,
                choices::state.eq("held"),
            ))
            .load(c))?;
        found.extend(rows.into_iter().map(|(id, decision_id, user, campaign_id, category, planned_ms, held)| {
            let planned_ms = if held { planned_ms } else { planned_ms.min(now_ms) };
            let by = HeardBy { choice_id: id, decision_id };
            (user, by, Heard { campaign_id, category, planned_ms })
        }));
    }
    Ok(found)
}

/// How many choices of each of these users count after a time, and the latest of them: when that has changed, something
/// was decided in between.
pub(in crate::moment) fn latest_choices(
    conn: &mut Conn,
    app: AppId,
    users: &[UserId],
    after_ms: i64,
) -> Result<HashMap<UserId, (i64, i64)>> {
    let mut found = HashMap::new();
    for chunk in users.chunks(IDS_MAX) {
        let rows: Vec<(UserId, i64, Option<i64>)> = on!(conn, c => choices::table
            .filter(choices::app_id.eq(app).and(choices::user_id.eq_any(chunk)).and(choices::planned_ms.gt(after_ms)))
            .filter(choices::counts.eq(true).and(choices::critical.eq(false)))
            .group_by(choices::user_id)
            .select((choices::user_id, diesel::dsl::count_star(), diesel::dsl::max(choices::planned_ms)))
            .load(c))?;
        found.extend(rows.into_iter().map(|(user, n, latest_ms)| (user, (n, latest_ms.unwrap_or(0)))));
    }
    Ok(found)
}

/// Which of these users a scheduled campaign has decided about already: one who moved from zone to zone is met twice.
pub(in crate::moment) fn met(conn: &mut Conn, app: AppId, campaign: CampaignId, users: &[UserId]) -> Result<HashSet<UserId>> {
    let mut found = HashSet::new();
    for chunk in users.chunks(IDS_MAX) {
        let rows: Vec<UserId> = on!(conn, c => decisions::table
            .filter(decisions::app_id.eq(app).and(decisions::campaign_id.eq(campaign)))
            .filter(decisions::moment_id.is_null().and(decisions::user_id.eq_any(chunk)))
            .select(decisions::user_id)
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// How much of this work is still to be done.
pub(in crate::moment) fn work_left(conn: &mut Conn, ids: &[WorkId]) -> Result<usize> {
    let mut left = 0;
    for chunk in ids.chunks(IDS_MAX) {
        let n: i64 = on!(conn, c => lane_work::table.filter(lane_work::id.eq_any(chunk)).count().get_result(c))?;
        left += usize::try_from(n).unwrap_or(0);
    }
    Ok(left)
}

//! What is to be taken back: moments that are over, and the walks through what campaigns have shown.

use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, MessageId, MomentId, UserId};
use crate::on;
use crate::store::schema::{campaign_recalls, choices, decisions, messages, moments};
use crate::store::{Conn, among};
use diesel::prelude::*;

/// Moments whose messages are to be taken back now, the earliest first.
pub(in crate::moment) fn due_moments(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<(AppId, MomentId)>> {
    Ok(on!(conn, c => moments::table
        .filter(moments::recall_ms.is_not_null().and(moments::recall_ms.le(now_ms)))
        .order((moments::recall_ms, moments::id))
        .limit(limit)
        .select((moments::app_id, moments::id))
        .load(c))?)
}

/// When the next moment is over.
pub(in crate::moment) fn next_recall_ms(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(on!(conn, c => moments::table
        .filter(moments::recall_ms.is_not_null())
        .select(diesel::dsl::min(moments::recall_ms))
        .first(c))?)
}

/// These moments have been seen to.
pub(in crate::moment) fn recalls_done(conn: &mut Conn, app: AppId, ids: &[MomentId]) -> Result<()> {
    on!(conn, c => diesel::update(moments::table.filter(moments::app_id.eq(app).and(among(moments::id, ids))))
        .set(moments::recall_ms.eq(None::<i64>))
        .execute(c))?;
    Ok(())
}

/// What older moments of a user and kind have shown is taken back now and not at their close.
pub(in crate::moment) fn bring_recalls_forward(
    conn: &mut Conn,
    app: AppId,
    (user, kind, test): (UserId, &str, bool),
    (opened_ms, but, now_ms): (i64, MomentId, i64),
) -> Result<()> {
    on!(conn, c => diesel::update(moments::table
            .filter(moments::app_id.eq(app).and(moments::user_id.eq(user)).and(moments::kind.eq(kind)).and(moments::test.eq(test)))
            .filter(moments::opened_ms.le(opened_ms).and(moments::id.ne(but)).and(moments::recall_ms.gt(now_ms))))
        .set(moments::recall_ms.eq(now_ms))
        .execute(c))?;
    Ok(())
}

/// The messages of the decisions of these moments.
pub(in crate::moment) fn shown_by(conn: &mut Conn, app: AppId, ids: &[MomentId]) -> Result<Vec<MessageId>> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let made: Vec<DecisionId> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::moment_id.eq_any(ids)))
        .select(decisions::id)
        .load(c))?;
    messages_of(conn, app, &made)
}

/// The messages of these decisions.
pub(in crate::moment) fn messages_of(conn: &mut Conn, app: AppId, made: &[DecisionId]) -> Result<Vec<MessageId>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::decision_id, made)).and(messages::recalls.eq("")))
        .order(messages::id)
        .select(messages::id)
        .load(c))?)
}

/// The held choices of a decision, and when they are planned.
pub(in crate::moment) fn held_of_decision(conn: &mut Conn, app: AppId, id: DecisionId) -> Result<Vec<(ChoiceId, i64)>> {
    Ok(on!(conn, c => choices::table
        .filter(choices::app_id.eq(app).and(choices::decision_id.eq(id)).and(choices::state.eq("held")))
        .select((choices::id, choices::planned_ms))
        .load(c))?)
}

/// The recall of all that a campaign has shown.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = campaign_recalls, treat_none_as_default_value = false, treat_none_as_null = true)]
pub(in crate::moment) struct CampaignRecall {
    pub app_id: AppId,
    pub campaign_id: CampaignId,
    /// The last id that was looked at.
    pub cursor_id: String,
    /// The id at which the walk ends.
    pub end_id: String,
    pub recalled: i64,
    pub asked_ms: i64,
    pub done_ms: Option<i64>,
}

/// The recall of a campaign, if one was asked for.
pub(in crate::moment) fn campaign_recall(conn: &mut Conn, app: AppId, campaign: CampaignId) -> Result<Option<CampaignRecall>> {
    Ok(on!(conn, c => campaign_recalls::table
        .find((app, campaign))
        .select(CampaignRecall::as_select())
        .first(c)
        .optional())?)
}

/// Begins a recall, or begins it anew.
pub(in crate::moment) fn put_campaign_recall(conn: &mut Conn, row: &CampaignRecall) -> Result<()> {
    on!(conn, c => diesel::insert_into(campaign_recalls::table)
        .values(row)
        .on_conflict((campaign_recalls::app_id, campaign_recalls::campaign_id))
        .do_update()
        .set(row)
        .execute(c))?;
    Ok(())
}

/// The walk whose turn it is: of the next app after this text, in the order of ids and round again, the one that was asked
/// for first.
pub(in crate::moment) fn open_walk(conn: &mut Conn, after: &str) -> Result<Option<CampaignRecall>> {
    for after in [after, ""] {
        let open = campaign_recalls::done_ms.is_null().and(campaign_recalls::app_id.gt(after));
        let walk: Option<CampaignRecall> = on!(conn, c => campaign_recalls::table
            .filter(open)
            .order((campaign_recalls::app_id, campaign_recalls::asked_ms, campaign_recalls::campaign_id))
            .select(CampaignRecall::as_select())
            .first(c)
            .optional())?;
        if walk.is_some() {
            return Ok(walk);
        }
    }
    Ok(None)
}

/// The next messages of an app along a walk, and of which campaign they are. There is no index by campaign, which every
/// push would pay for.
pub(in crate::moment) fn walked(conn: &mut Conn, walk: &CampaignRecall, limit: i64) -> Result<Vec<(MessageId, CampaignId)>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(walk.app_id).and(messages::id.gt(&walk.cursor_id)).and(messages::id.lt(&walk.end_id)))
        .order(messages::id)
        .limit(limit)
        .select((messages::id, messages::campaign_id))
        .load(c))?)
}

/// Moves a walk on, if nobody else has.
pub(in crate::moment) fn note_walked(conn: &mut Conn, before: &CampaignRecall, now: &CampaignRecall) -> Result<bool> {
    let target = campaign_recalls::table.find((before.app_id, before.campaign_id));
    let rows = on!(conn, c => diesel::update(target.filter(campaign_recalls::cursor_id.eq(&before.cursor_id)))
        .set(now)
        .execute(c))?;
    Ok(rows == 1)
}

//! Held choices: which are due, which a newer moment supersedes, and what came of them.

use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, MessageId, MomentId, OfferId, PushId, UserId};
use crate::moment::decision::Outcome;
use crate::moment::input::is_direct;
use crate::on;
use crate::store::schema::{choices, decisions, messages, moments};
use crate::store::{Conn, Doc, part};
use diesel::prelude::*;
use serde_json::Value;

/// The states of messages that wait.
const WAITING: [&str; 2] = ["queued", "retry_at"];

/// A choice that waits for the end of quiet time.
#[derive(Debug, Clone, Queryable)]
pub(in crate::moment) struct HeldRow {
    pub app_id: AppId,
    pub id: ChoiceId,
    pub decision_id: DecisionId,
    pub user_id: UserId,
    pub campaign_id: CampaignId,
    pub offer_id: OfferId,
    pub planned_ms: i64,
}

impl HeldRow {
    /// The direct push whose choice it is, if it is one's.
    pub fn push(&self) -> Option<PushId> {
        is_direct(self.campaign_id, self.offer_id).then(|| self.campaign_id.uuid().into())
    }
}

/// Those that wait for their time.
const HELD: &str = "state = 'held'";

/// Held choices whose time has come, the earliest first.
pub(in crate::moment) fn due_held(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<HeldRow>> {
    Ok(on!(conn, c => choices::table
        .filter(part(HELD).and(choices::planned_ms.le(now_ms)))
        .order((choices::planned_ms, choices::id))
        .limit(limit)
        .select((
            choices::app_id,
            choices::id,
            choices::decision_id,
            choices::user_id,
            choices::campaign_id,
            choices::offer_id,
            choices::planned_ms,
        ))
        .load(c))?)
}

/// When the next held choice falls due.
pub(in crate::moment) fn next_due_ms(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(on!(conn, c => choices::table
        .filter(part(HELD))
        .select(diesel::dsl::min(choices::planned_ms))
        .first(c))?)
}

/// What came of a held choice.
pub(in crate::moment) struct Release<'a> {
    pub app_id: AppId,
    pub id: ChoiceId,
    /// `planned`, `held` or `release_refused`.
    pub state: &'static str,
    pub planned_ms: i64,
    pub counts: bool,
    pub input: Option<&'a [u8]>,
    pub said: &'a Value,
}

/// Writes what came of a held choice; false when it is held no longer.
pub(in crate::moment) fn release(conn: &mut Conn, release: &Release<'_>) -> Result<bool> {
    let changed = on!(conn, c => diesel::update(choices::table.find((release.app_id, release.id)))
        .filter(choices::state.eq("held"))
        .set((
            choices::state.eq(release.state),
            choices::planned_ms.eq(release.planned_ms),
            choices::counts.eq(release.counts),
            choices::release_input.eq(release.input),
            choices::release.eq(Some(Doc(release.said.clone()))),
        ))
        .execute(c))?;
    Ok(changed == 1)
}

/// A choice of which nothing has left, and the moment that it belongs to.
#[derive(Debug, Clone, Queryable)]
pub(in crate::moment) struct WaitingChoice {
    /// Whether it is held; else its messages wait.
    pub held: bool,
    pub user_id: UserId,
    pub choice_id: ChoiceId,
    pub decision_id: DecisionId,
    pub offer_id: OfferId,
    pub planned_ms: i64,
    pub kind: String,
    pub opened_ms: i64,
    pub test: bool,
}

/// The choices of these users that belong to moments and of which nothing has left: those held, and those whose messages
/// all wait, of which none may have arrived.
pub(in crate::moment) fn not_gone(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<Vec<WaitingChoice>> {
    let mut found = Vec::new();
    for chunk in users.chunks(500) {
        let rows: Vec<WaitingChoice> = on!(conn, c => choices::table
            .inner_join(decisions::table.on(decisions::app_id.eq(choices::app_id).and(decisions::id.eq(choices::decision_id))))
            .inner_join(moments::table.on(
                moments::app_id.eq(decisions::app_id).and(decisions::moment_id.eq(moments::id.nullable()))
            ))
            .filter(choices::app_id.eq(app).and(choices::user_id.eq_any(chunk)))
            .filter(choices::state.eq("held").or(choices::state.eq("planned").and(choices::id.eq_any(
                messages::table
                    .filter(messages::app_id.eq(app).and(messages::user_id.eq_any(chunk)).and(messages::state.eq_any(WAITING)))
                    .select(messages::choice_id)
            )).and(choices::id.ne_all(
                messages::table
                    .filter(messages::app_id.eq(app).and(messages::user_id.eq_any(chunk)))
                    .filter(messages::state.ne_all(WAITING).or(messages::perhaps.eq(true)))
                    .select(messages::choice_id)
            ))))
            .order(choices::id)
            .select((
                choices::state.eq("held"),
                choices::user_id,
                choices::id,
                choices::decision_id,
                choices::offer_id,
                choices::planned_ms,
                moments::kind,
                moments::opened_ms,
                moments::test,
            ))
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The messages of a user's moments of one kind that opened no later than a time and that have not
/// ended; no recalls, which go on.
pub(in crate::moment) fn waiting_of_kind(
    conn: &mut Conn,
    app: AppId,
    (user, kind, test): (UserId, &str, bool),
    (opened_ms, but): (i64, MomentId),
) -> Result<Vec<MessageId>> {
    Ok(on!(conn, c => messages::table
        .inner_join(decisions::table.on(decisions::app_id.eq(messages::app_id).and(decisions::id.eq(messages::decision_id))))
        .inner_join(moments::table.on(
            moments::app_id.eq(decisions::app_id).and(decisions::moment_id.eq(moments::id.nullable()))
        ))
        .filter(messages::app_id.eq(app).and(messages::user_id.eq(user)).and(messages::state.eq_any(["queued", "retry_at", "sending"])))
        .filter(messages::recalls.eq(""))
        .filter(moments::kind.eq(kind).and(moments::test.eq(test)))
        .filter(moments::opened_ms.le(opened_ms).and(moments::id.ne(but)))
        .order(messages::id)
        .select(messages::id)
        .load(c))?)
}

/// How many messages of these choices have not ended as cancelled.
pub(in crate::moment) fn not_cancelled(conn: &mut Conn, app: AppId, of: &[ChoiceId]) -> Result<i64> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::choice_id.eq_any(of)).and(messages::state.ne("cancelled")))
        .count()
        .get_result(c))?)
}

/// The decision's outcome as its choices stand now: the first of the law's order that applies.
pub(in crate::moment) fn outcome_of(conn: &mut Conn, app: AppId, decision: DecisionId) -> Result<Outcome> {
    let states: Vec<String> = on!(conn, c => choices::table
        .filter(choices::app_id.eq(app).and(choices::decision_id.eq(decision)))
        .select(choices::state)
        .load(c))?;
    let outcomes = states.iter().map(|state| match state.as_str() {
        "planned" => Outcome::Chosen,
        "held" => Outcome::Held,
        _ => Outcome::ReleaseRefused,
    });
    Ok(outcomes.min().unwrap_or(Outcome::Silent))
}

/// Brings a decision's outcome up to date after one of its choices has moved.
pub(in crate::moment) fn update_outcome(conn: &mut Conn, app: AppId, decision: DecisionId, refused: Option<&str>) -> Result<()> {
    let outcome = outcome_of(conn, app, decision)?;
    let reason = (outcome == Outcome::ReleaseRefused).then_some(refused).flatten();
    on!(conn, c => diesel::update(decisions::table.find((app, decision)))
        .set((decisions::outcome.eq(outcome.name()), decisions::reason.eq(reason)))
        .execute(c))?;
    Ok(())
}

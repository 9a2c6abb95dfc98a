//! The decision trail: decisions with their moments, choices and messages.

use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, EventId, MessageId, MomentId, OfferId, PushId, UserId};
use crate::moment::commit::Hops;
use crate::moment::decision::{Choice, Tried};
use crate::on;
use crate::push::State;
use crate::store::schema::{choices, decisions, messages, moments, pushes};
use crate::store::{Conn, Doc, among};
use diesel::prelude::*;
use serde_json::Value;
use std::collections::HashSet;

/// Ids of one statement.
const IDS_MAX: usize = 500;

/// Which decisions are asked for.
#[derive(Debug, Clone, Default)]
pub(in crate::moment) struct Filter {
    pub user_id: Option<UserId>,
    pub event_id: Option<EventId>,
    pub campaign_id: Option<CampaignId>,
    pub outcome: Option<&'static str>,
    /// Only ids after this one.
    pub after: String,
    pub limit: i64,
}

/// A decision as it is stored, without its input.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = decisions)]
pub(in crate::moment) struct DecisionRow {
    pub id: DecisionId,
    pub user_id: UserId,
    pub event_id: Option<EventId>,
    pub moment_id: Option<MomentId>,
    pub campaign_id: Option<CampaignId>,
    pub outcome: String,
    pub reason: Option<String>,
    pub candidates: Doc<Vec<Tried>>,
    pub choices: Doc<Vec<Choice>>,
    pub predicted_latency_ms: i64,
    pub hops: Doc<Hops>,
    pub decided_ms: i64,
    pub test: bool,
}

impl DecisionRow {
    /// The direct push that it is about, if it is about one.
    pub fn push(&self) -> Option<PushId> {
        let direct = self.moment_id.is_none() && self.candidates.0.iter().any(|tried| tried.version.is_direct());
        self.campaign_id.filter(|_| direct).map(|id| id.uuid().into())
    }
}

/// Those of these direct pushes that are there: the starts and updates of Live Activities are decided on as pushes are.
pub(in crate::moment) fn pushes_there(conn: &mut Conn, app: AppId, ids: &[PushId]) -> Result<HashSet<PushId>> {
    let found: Vec<PushId> = on!(conn, c => pushes::table
        .filter(pushes::app_id.eq(app).and(among(pushes::id, ids)))
        .select(pushes::id)
        .load(c))?;
    Ok(found.into_iter().collect())
}

/// A moment as it is stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = moments)]
pub(in crate::moment) struct MomentRow {
    pub id: MomentId,
    pub kind: String,
    pub key: String,
    pub opened_ms: i64,
    pub closes_ms: i64,
    pub context: Doc<Value>,
}

/// A choice as it stands now.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = choices)]
pub(in crate::moment) struct ChoiceRow {
    pub id: ChoiceId,
    pub decision_id: DecisionId,
    pub campaign_id: CampaignId,
    pub offer_id: OfferId,
    pub state: String,
    pub planned_ms: i64,
    pub release: Option<Doc<Value>>,
}

/// Decisions in id order.
pub(in crate::moment) fn decisions(conn: &mut Conn, app: AppId, filter: &Filter) -> Result<Vec<DecisionRow>> {
    Ok(on!(conn, c => {
        let mut query = decisions::table
            .filter(decisions::app_id.eq(app).and(decisions::id.gt(&filter.after)))
            .into_boxed();
        if let Some(user) = filter.user_id {
            query = query.filter(decisions::user_id.eq(user));
        }
        if let Some(event) = filter.event_id {
            query = query.filter(decisions::event_id.eq(event));
        }
        if let Some(campaign) = filter.campaign_id {
            let chosen = choices::table
                .filter(choices::app_id.eq(app).and(choices::campaign_id.eq(campaign)))
                .select(choices::decision_id);
            query = query.filter(decisions::campaign_id.eq(campaign).or(decisions::id.eq_any(chosen)).assume_not_null());
        }
        if let Some(outcome) = filter.outcome {
            query = query.filter(decisions::outcome.eq(outcome));
        }
        query.order(decisions::id).limit(filter.limit).select(DecisionRow::as_select()).load(c)
    })?)
}

/// One decision.
pub(in crate::moment) fn decision(conn: &mut Conn, app: AppId, id: DecisionId) -> Result<Option<DecisionRow>> {
    Ok(on!(conn, c => decisions::table.find((app, id)).select(DecisionRow::as_select()).first(c).optional())?)
}

/// The packed input of a decision.
pub(in crate::moment) fn input_of(conn: &mut Conn, app: AppId, id: DecisionId) -> Result<Option<Vec<u8>>> {
    Ok(on!(conn, c => decisions::table.find((app, id)).select(decisions::input).first(c).optional())?)
}

/// Moments by id.
pub(in crate::moment) fn moments(conn: &mut Conn, app: AppId, ids: &[MomentId]) -> Result<Vec<MomentRow>> {
    let mut found = Vec::new();
    for chunk in ids.chunks(IDS_MAX) {
        let rows: Vec<MomentRow> = on!(conn, c => moments::table
            .filter(moments::app_id.eq(app).and(moments::id.eq_any(chunk)))
            .select(MomentRow::as_select())
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The choices of these decisions, in id order.
pub(in crate::moment) fn choices_of(conn: &mut Conn, app: AppId, ids: &[DecisionId]) -> Result<Vec<ChoiceRow>> {
    let mut found = Vec::new();
    for chunk in ids.chunks(IDS_MAX) {
        let rows: Vec<ChoiceRow> = on!(conn, c => choices::table
            .filter(choices::app_id.eq(app).and(choices::decision_id.eq_any(chunk)))
            .order(choices::id)
            .select(ChoiceRow::as_select())
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The messages of these choices: choice and message, in id order.
pub(in crate::moment) fn message_ids(conn: &mut Conn, app: AppId, ids: &[ChoiceId]) -> Result<Vec<(ChoiceId, MessageId)>> {
    let mut found = Vec::new();
    for chunk in ids.chunks(IDS_MAX) {
        let rows: Vec<(ChoiceId, MessageId)> = on!(conn, c => messages::table
            .filter(messages::app_id.eq(app).and(messages::choice_id.eq_any(chunk)))
            .filter(messages::recalls.eq(""))
            .order(messages::id)
            .select((messages::choice_id, messages::id))
            .load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

/// How many decisions there are by outcome: the live ones, or those of tests.
pub(in crate::moment) fn count_decisions(conn: &mut Conn, app: AppId, test: bool) -> Result<Vec<(String, i64)>> {
    Ok(on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::test.eq(test)))
        .group_by(decisions::outcome)
        .select((decisions::outcome, diesel::dsl::count_star()))
        .load(c))?)
}

/// How many messages there are by state.
pub(in crate::moment) fn count_messages(conn: &mut Conn, app: AppId) -> Result<Vec<(String, i64)>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app))
        .group_by(messages::state)
        .select((messages::state, diesel::dsl::count_star()))
        .load(c))?)
}

/// The packed input of the second look at a choice.
pub(in crate::moment) fn release_input_of(conn: &mut Conn, app: AppId, id: ChoiceId) -> Result<Option<Vec<u8>>> {
    Ok(on!(conn, c => choices::table.find((app, id)).select(choices::release_input).first::<Option<Vec<u8>>>(c).optional())?
        .flatten())
}

/// What does not add up among an app's moments, decisions, choices and messages.
pub(in crate::moment) fn faults(conn: &mut Conn, app: AppId) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let opened: i64 = on!(conn, c => moments::table.filter(moments::app_id.eq(app)).count().get_result(c))?;
    let decided: i64 = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::moment_id.is_not_null())).count().get_result(c))?;
    if opened != decided {
        faults.push(format!("{opened} moments have {decided} decisions"));
    }
    let speechless: i64 = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::reason.is_null()))
        .filter(decisions::outcome.eq_any(["silent", "release_refused"])).count().get_result(c))?;
    if speechless != 0 {
        faults.push(format!("{speechless} silences have no reason"));
    }
    for (outcome, state) in [("chosen", "planned"), ("held", "held"), ("release_refused", "release_refused")] {
        let bearing = choices::table.filter(choices::app_id.eq(app).and(choices::state.eq(state))).select(choices::decision_id);
        let unborne: i64 = on!(conn, c => decisions::table
            .filter(decisions::app_id.eq(app).and(decisions::outcome.eq(outcome)).and(decisions::id.ne_all(bearing)))
            .count().get_result(c))?;
        if unborne != 0 {
            faults.push(format!("{unborne} decisions are {outcome} without such a choice"));
        }
    }
    let any = choices::table.filter(choices::app_id.eq(app)).select(choices::decision_id);
    let spoken: i64 = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::outcome.eq("silent")).and(decisions::id.eq_any(any)))
        .count().get_result(c))?;
    if spoken != 0 {
        faults.push(format!("{spoken} silences have a choice"));
    }
    let with_messages = messages::table.filter(messages::app_id.eq(app)).select(messages::choice_id);
    let empty: i64 = on!(conn, c => choices::table
        .filter(choices::app_id.eq(app).and(choices::state.eq("planned")).and(choices::id.ne_all(with_messages)))
        .count().get_result(c))?;
    if empty != 0 {
        faults.push(format!("{empty} choices that went out have no message"));
    }
    let early: i64 = on!(conn, c => choices::table
        .filter(choices::app_id.eq(app).and(choices::state.ne("planned")).and(choices::id.eq_any(with_messages)))
        .count().get_result(c))?;
    if early != 0 {
        faults.push(format!("{early} choices that did not go out have messages"));
    }
    let taken = messages::table
        .filter(messages::app_id.eq(app).and(messages::recalls.eq("")).and(messages::test.eq(false)))
        .filter(messages::state.eq_any([State::Accepted, State::Unknown].map(State::word)))
        .select(messages::choice_id);
    let free: i64 = on!(conn, c => choices::table
        .filter(choices::app_id.eq(app).and(choices::counts.eq(false)).and(choices::id.eq_any(taken)))
        .count().get_result(c))?;
    if free != 0 {
        faults.push(format!("{free} choices that a gateway has taken, or may have, do not count"));
    }
    Ok(faults)
}

/// Every decision of an app, in id order.
pub(in crate::moment) fn decision_ids(conn: &mut Conn, app: AppId) -> Result<Vec<DecisionId>> {
    Ok(on!(conn, c => decisions::table.filter(decisions::app_id.eq(app)).order(decisions::id).select(decisions::id).load(c))?)
}

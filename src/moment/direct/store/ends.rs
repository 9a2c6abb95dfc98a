//! What came of a push: its decisions in the order of users, and their messages.

use crate::error::Result;
use crate::id::{AppId, CampaignId, DecisionId, DeviceId, MessageId, OfferId, PushId, UserId};
use crate::moment::direct::tally::Tally;
use crate::on;
use crate::push::Attempt;
use crate::store::schema::{decisions, messages};
use crate::store::{Conn, Doc, among};
use diesel::dsl::count_star;
use diesel::prelude::*;

/// A decision about one user.
#[derive(Debug, Clone, Queryable)]
pub(in crate::moment::direct) struct Decided {
    pub id: DecisionId,
    pub user_id: UserId,
    pub outcome: String,
    pub reason: Option<String>,
    pub decided_ms: i64,
}

/// A message to one device.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(in crate::moment::direct) struct Sent {
    pub id: MessageId,
    pub decision_id: DecisionId,
    pub device_id: DeviceId,
    pub platform: String,
    pub state: String,
    pub reason: Option<String>,
    pub attempt: i64,
    pub attempts: Doc<Vec<Attempt>>,
    pub sending_ms: Option<i64>,
    pub due_ms: i64,
    pub deadline_ms: i64,
    pub ended_ms: Option<i64>,
}

/// The decisions of a push, in the order of users: from this text on, or only after it.
pub(in crate::moment::direct) fn decided(
    conn: &mut Conn,
    (app, push): (AppId, PushId),
    (from, inclusive): (&str, bool),
    limit: i64,
) -> Result<Vec<Decided>> {
    let campaign: CampaignId = push.uuid().into();
    Ok(on!(conn, c => {
        let query = decisions::table
            .filter(decisions::app_id.eq(app).and(decisions::campaign_id.eq(campaign)).and(decisions::moment_id.is_null()))
            .order(decisions::user_id)
            .limit(limit)
            .select((decisions::id, decisions::user_id, decisions::outcome, decisions::reason, decisions::decided_ms))
            .into_boxed();
        if inclusive { query.filter(decisions::user_id.ge(from)) } else { query.filter(decisions::user_id.gt(from)) }.load(c)
    })?)
}

/// The messages of these decisions, by decision and device. What takes one back is none of the push's.
pub(in crate::moment::direct) fn sent(conn: &mut Conn, (app, push): (AppId, PushId), of: &[DecisionId]) -> Result<Vec<Sent>> {
    let offer: OfferId = push.uuid().into();
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::decision_id, of)).and(messages::offer_id.eq(offer)))
        .filter(messages::recalls.eq(""))
        .order((messages::decision_id, messages::device_id))
        .select(Sent::as_select())
        .load(c))?)
}

/// How the messages of these decisions stand: decision, state, reason.
pub(in crate::moment::direct) fn fates(
    conn: &mut Conn,
    app: AppId,
    of: &[DecisionId],
) -> Result<Vec<(DecisionId, String, Option<String>)>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::decision_id, of)).and(messages::recalls.eq("")))
        .select((messages::decision_id, messages::state, messages::reason))
        .load(c))?)
}

/// Counts the decisions about users after one, and their messages.
pub(in crate::moment::direct) fn count_after(
    conn: &mut Conn,
    (app, push): (AppId, PushId),
    after: Option<UserId>,
) -> Result<Tally> {
    let campaign: CampaignId = push.uuid().into();
    let after = after.map(|user| user.to_string()).unwrap_or_default();
    let own = decisions::app_id.eq(app).and(decisions::campaign_id.eq(campaign)).and(decisions::moment_id.is_null());
    let outcomes: Vec<(String, Option<String>, i64)> = on!(conn, c => decisions::table
        .filter(own.and(decisions::user_id.gt(&after)))
        .group_by((decisions::outcome, decisions::reason))
        .select((decisions::outcome, decisions::reason, count_star()))
        .load(c))?;
    let of_decision = messages::app_id.eq(decisions::app_id).and(messages::decision_id.eq(decisions::id));
    let states: Vec<(String, Option<String>, i64)> = on!(conn, c => decisions::table
        .inner_join(messages::table.on(of_decision))
        .filter(own.and(decisions::user_id.gt(&after)).and(messages::recalls.eq("")))
        .group_by((messages::state, messages::reason))
        .select((messages::state, messages::reason, count_star()))
        .load(c))?;
    let mut tally = Tally::default();
    for (outcome, reason, n) in outcomes {
        tally.decided((&outcome, reason.as_deref()), n);
    }
    for (state, reason, n) in states {
        tally.sent((&state, reason.as_deref()), n);
    }
    Ok(tally)
}

//! Messages and receipts, as the trail and the inbox show them. The outbox alone changes a message's state.

use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, MessageId, OfferId, UserId};
use crate::on;
use crate::push::{Allowed, Attempt, State};
use crate::store::schema::{messages, receipts};
use crate::store::{Conn, Doc, among};
use diesel::prelude::*;
use std::collections::HashMap;

/// Which messages are asked for.
#[derive(Debug, Clone, Default)]
pub(in crate::moment) struct MessageFilter {
    pub user_id: Option<UserId>,
    pub decision_id: Option<DecisionId>,
    pub campaign_id: Option<CampaignId>,
    pub state: Option<&'static str>,
    /// Only ids after this one.
    pub after: String,
    /// Recalls too.
    pub recalls: bool,
    pub limit: i64,
}

/// A message as it is stored.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(in crate::moment) struct MessageRow {
    pub id: MessageId,
    pub choice_id: ChoiceId,
    pub decision_id: DecisionId,
    pub user_id: UserId,
    pub device_id: DeviceId,
    pub campaign_id: CampaignId,
    pub offer_id: OfferId,
    pub platform: String,
    pub token: String,
    pub payload: String,
    pub test: bool,
    pub collapse_id: String,
    pub consent: Doc<Allowed>,
    pub state: String,
    pub reason: Option<String>,
    /// Why it was stopped, if it was: before its end, or while it was being sent.
    pub stop_reason: Option<String>,
    pub attempt: i64,
    pub attempts: Doc<Vec<Attempt>>,
    pub sending_ms: Option<i64>,
    pub due_ms: i64,
    pub deadline_ms: i64,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
    /// The message that it takes back; "": none.
    pub recalls: String,
    pub recalled_ms: Option<i64>,
    /// The Live Activity that it starts, updates or ends; "": none.
    pub activity_id: String,
    /// Until when its content says that it stays in the inbox.
    pub inbox_until_ms: Option<i64>,
}

impl MessageRow {
    /// Whether it was cancelled, by whomever, or would have been but for an attempt that may have arrived.
    pub fn is_stopped(&self) -> bool {
        let cancelled = |why: &str| !matches!(why, "consent" | "consent_expired" | "user_left");
        self.state == State::Cancelled.word()
            || self.state == State::Unknown.word() && self.stop_reason.as_deref().is_some_and(cancelled)
    }
}

/// Messages in id order.
pub(in crate::moment) fn messages(conn: &mut Conn, app: AppId, filter: &MessageFilter) -> Result<Vec<MessageRow>> {
    Ok(on!(conn, c => {
        let mut query = messages::table.filter(messages::app_id.eq(app)).into_boxed();
        if let Some(user) = filter.user_id {
            query = query.filter(messages::user_id.eq(user));
        }
        if let Some(decision) = filter.decision_id {
            query = query.filter(messages::decision_id.eq(decision));
        }
        if let Some(campaign) = filter.campaign_id {
            query = query.filter(messages::campaign_id.eq(campaign));
        }
        if let Some(state) = filter.state {
            query = query.filter(messages::state.eq(state));
        }
        if !filter.recalls {
            query = query.filter(messages::recalls.eq(""));
        }
        query.filter(messages::id.gt(&filter.after)).order(messages::id.asc()).limit(filter.limit).select(MessageRow::as_select()).load(c)
    })?)
}

/// One message.
pub(in crate::moment) fn message(conn: &mut Conn, app: AppId, id: MessageId) -> Result<Option<MessageRow>> {
    Ok(on!(conn, c => messages::table.find((app, id)).select(MessageRow::as_select()).first(c).optional())?)
}

/// Messages by id, in id order.
pub(in crate::moment) fn messages_by_id(conn: &mut Conn, app: AppId, ids: &[MessageId]) -> Result<Vec<MessageRow>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::id, ids)))
        .order(messages::id)
        .select(MessageRow::as_select())
        .load(c))?)
}

/// When the first message of each decision was accepted, and when the first was opened.
pub(in crate::moment) fn first_hops(
    conn: &mut Conn,
    app: AppId,
    ids: &[DecisionId],
) -> Result<HashMap<DecisionId, (Option<i64>, Option<i64>)>> {
    let mut found: HashMap<DecisionId, (Option<i64>, Option<i64>)> = HashMap::new();
    for chunk in ids.chunks(500) {
        let accepted: Vec<(DecisionId, Option<i64>)> = on!(conn, c => messages::table
            .filter(messages::app_id.eq(app).and(messages::decision_id.eq_any(chunk)).and(messages::state.eq("accepted")).and(messages::recalls.eq("")))
            .select((messages::decision_id, messages::ended_ms))
            .load(c))?;
        for (id, at_ms) in accepted {
            let first = &mut found.entry(id).or_default().0;
            *first = earlier(*first, at_ms);
        }
        let opened: Vec<(DecisionId, i64)> = on!(conn, c => messages::table
            .inner_join(receipts::table.on(
                receipts::app_id.eq(messages::app_id).and(receipts::message_id.eq(messages::id))
            ))
            .filter(messages::app_id.eq(app).and(messages::decision_id.eq_any(chunk)).and(receipts::kind.eq("opened")))
            .select((messages::decision_id, receipts::at_ms))
            .load(c))?;
        for (id, at_ms) in opened {
            let first = &mut found.entry(id).or_default().1;
            *first = earlier(*first, Some(at_ms));
        }
    }
    Ok(found)
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    [a, b].into_iter().flatten().min()
}

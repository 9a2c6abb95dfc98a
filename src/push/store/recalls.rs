//! Recalls in the database: what they take back, and the rows by which they go out.

use super::{Body, CHUNK, FLIES, Row, Standing, WAITS, numbered};
use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, MessageId, OfferId, UserId};
use crate::on;
use crate::people::device::{Platform, own_kind};
use crate::push::content::Head;
use crate::push::message::{Mode, State};
use crate::push::webpush;
use crate::store::schema::{message_bodies, message_states, messages};
use crate::store::{Conn, among, among_numbers};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A message that may be on the phone.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = messages)]
pub(in crate::push) struct Original {
    pub(in crate::push) id: MessageId,
    pub(in crate::push) user_id: UserId,
    pub(in crate::push) device_id: DeviceId,
    pub(in crate::push) decision_id: DecisionId,
    pub(in crate::push) campaign_id: CampaignId,
    pub(in crate::push) platform: String,
    pub(in crate::push) token: String,
    pub(in crate::push) collapse_id: String,
    pub(in crate::push) deadline_ms: i64,
    choice_id: ChoiceId,
    offer_id: OfferId,
    environment: String,
    topic: Option<String>,
    test: bool,
    route: String,
    consent: String,
    consent_epoch: i64,
    app_consent_epoch: i64,
}

impl Row {
    /// The row of a recall: it waits, and goes the way that the original went.
    pub(in crate::push) fn recall(
        app_id: AppId,
        original: &Original,
        (id, token, payload): (MessageId, String, String),
        (deadline_ms, now_ms): (i64, i64),
    ) -> Self {
        let of = original.clone();
        // Apple refuses a background push that is in a hurry; Google is told in the payload.
        let head = match Platform::named(&of.platform) {
            Some(Platform::Ios) => Some(Head { push_type: "background", priority: 5, suffix: "" }.text()),
            Some(Platform::Web) => Some(webpush::NORMAL.to_owned()),
            Some(Platform::Android) | None => None,
        };
        let body = Body {
            app_id,
            id,
            decision_id: of.decision_id,
            choice_id: of.choice_id,
            user_id: of.user_id,
            device_id: of.device_id,
            campaign_id: of.campaign_id,
            offer_id: of.offer_id,
            platform: of.platform.into(),
            token,
            environment: of.environment.into(),
            test: of.test,
            payload,
            head,
            collapse_id: of.collapse_id,
            mode: Mode::AtMostOnce.word(),
            consent: of.consent,
            consent_epoch: of.consent_epoch,
            app_consent_epoch: of.app_consent_epoch,
            created_ms: now_ms,
            activity_id: String::new(),
            recalls: of.id.to_string(),
            inbox_until_ms: None,
        };
        let state = Standing {
            n: 0,
            app_id,
            route: of.route.into(),
            topic: of.topic,
            state: State::Queued.word(),
            attempt: 0,
            attempts: "[]",
            due_ms: now_ms,
            deadline_ms,
            consent_until_ms: None,
            sending_ms: None,
            settled: false,
        };
        Self { body, state }
    }
}

/// Those of these messages that have not ended: they wait, in time, or are being sent.
pub(in crate::push) fn unended(conn: &mut Conn, app: AppId, ids: &[MessageId], now_ms: i64) -> Result<Vec<MessageId>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::id, ids)).and(messages::recalls.eq("")))
        .filter(sql::<Bool>(&format!("({WAITS} or {FLIES})")))
        .filter(messages::deadline_ms.gt(now_ms).or(messages::state.eq(State::Sending.word())))
        .select(messages::id)
        .load(c))?)
}

/// The states of these messages.
pub(in crate::push) fn states(conn: &mut Conn, app: AppId, ids: &[MessageId]) -> Result<HashMap<MessageId, String>> {
    let rows: Vec<(MessageId, String)> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::id, ids)))
        .select((messages::id, messages::state))
        .load(c))?;
    Ok(rows.into_iter().collect())
}

/// Those of these messages that a gateway has taken, or may have, and that nobody has asked back.
pub(in crate::push) fn originals(conn: &mut Conn, app: AppId, ids: &[MessageId]) -> Result<Vec<Original>> {
    let words = [State::Sending, State::Accepted, State::Unknown].map(State::word);
    let may_be_shown = messages::state.eq_any(words).or(messages::perhaps.eq(true));
    let found: Vec<Original> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::id, ids)).and(messages::recalls.eq("")))
        // What a Live Activity shows is taken back by its end.
        .filter(messages::recalled_ms.is_null().and(may_be_shown).and(messages::activity_id.eq("")))
        .order(messages::id)
        .select(Original::as_select())
        .load(c))?;
    // A call or a widget's change is no notification, and its token takes no other push that could remove it.
    let has_own_kind = |of: &Original| of.platform == Platform::Ios.name() && own_kind(&of.token).0.is_some();
    Ok(found.into_iter().filter(|of| !has_own_kind(of)).collect())
}

/// Those of these in whose place something newer is on the phone, under the same collapse id: a recall would remove that.
pub(in crate::push) fn replaced(conn: &mut Conn, app: AppId, all: &[Original]) -> Result<HashSet<MessageId>> {
    // Where the author names none, each choice has its own.
    let shared: Vec<&Original> = all.iter().filter(|of| of.collapse_id != of.choice_id.to_string()).collect();
    let Some(oldest) = shared.iter().map(|of| of.id).min() else { return Ok(HashSet::new()) };
    let users: BTreeSet<UserId> = shared.iter().map(|of| of.user_id).collect();
    let ids: BTreeSet<&str> = shared.iter().map(|of| of.collapse_id.as_str()).collect();
    let words = [State::Sending, State::Accepted, State::Unknown].map(State::word);
    let may_be_shown = messages::state.eq_any(words).or(messages::perhaps.eq(true));
    let newer: Vec<(MessageId, DeviceId, String)> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::user_id, users)).and(messages::id.gt(oldest)))
        .filter(messages::collapse_id.eq_any(ids).and(messages::recalls.eq("")).and(may_be_shown))
        .select((messages::id, messages::device_id, messages::collapse_id))
        .load(c))?;
    let mut newest: HashMap<(DeviceId, &str), MessageId> = HashMap::new();
    for (id, device, name) in &newer {
        newest.entry((*device, name)).and_modify(|known| *known = (*known).max(*id)).or_insert(*id);
    }
    let is_newer = |of: &&Original| newest.get(&(of.device_id, of.collapse_id.as_str())).is_some_and(|id| *id > of.id);
    Ok(shared.into_iter().filter(is_newer).map(|of| of.id).collect())
}

/// Writes recalls, one per message at most; answers how many are new.
pub(in crate::push) fn insert_recalls(conn: &mut Conn, rows: &mut [Row]) -> Result<usize> {
    let mut new = 0;
    for chunk in rows.chunks_mut(CHUNK) {
        let bodies = || chunk.iter().map(|row| &row.body).collect::<Vec<&Body>>();
        let numbers = on!(conn, c => diesel::insert_into(message_bodies::table)
            .values(bodies())
            .on_conflict_do_nothing()
            .returning((message_bodies::id, message_bodies::n))
            .get_results(c))?;
        let states = numbered(chunk, numbers);
        new += states.len();
        on!(conn, c => diesel::insert_into(message_states::table).values(states).execute(c))?;
    }
    Ok(new)
}

/// Notes on the originals when they were asked back.
pub(in crate::push) fn note_recalled(conn: &mut Conn, app: AppId, ids: &[MessageId], now_ms: i64) -> Result<()> {
    let those = message_bodies::app_id.eq(app).and(among(message_bodies::id, ids)).and(message_bodies::recalled_ms.is_null());
    on!(conn, c => diesel::update(message_bodies::table.filter(those))
        .set(message_bodies::recalled_ms.eq(now_ms))
        .execute(c))?;
    Ok(())
}

/// Lets recalls wait until their originals have ended.
pub(in crate::push) fn ask_later(conn: &mut Conn, recalls: &[i64], due_ms: i64) -> Result<()> {
    if recalls.is_empty() {
        return Ok(());
    }
    on!(conn, c => diesel::update(message_states::table.filter(among_numbers(message_states::n, recalls.iter().copied())))
        .set((message_states::due_ms.eq(due_ms), message_states::reason.eq("original_on_its_way")))
        .execute(c))?;
    Ok(())
}

//! `/v1/messages`: each message, its state and its attempts; cancelling one that still waits.

use super::{filter, id};
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Page, PageQuery, ProblemBody, Query};
use crate::id::{AppId, CampaignId, ConsentId, DecisionId, DeviceId, MessageId, OfferId, PushId, UserId};
use crate::moment::input::is_direct;
use crate::moment::store::{self, MessageFilter, MessageRow, ReceiptRow};
use crate::people::device::{self, Platform as Os};
use crate::platform::Platform;
use crate::push::{Attempt, State};
use crate::store::Conn;
use actix_web::web;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which messages to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MessageQuery {
    /// Only those to this user.
    user: Option<String>,
    /// Only those of this decision.
    decision: Option<String>,
    /// Only those of this campaign.
    campaign: Option<String>,
    /// Only those in this state.
    state: Option<State>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One decision rendered for one device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
pub struct MessageOut {
    id: MessageId,
    decision_id: DecisionId,
    user_id: UserId,
    device_id: DeviceId,
    /// The push token; of a browser only where its subscription leads, and a hash by which it is known.
    token: String,
    platform: String,
    campaign_id: CampaignId,
    offer_id: OfferId,
    /// The direct push, when it is one's; campaign and offer have the same UUID then.
    #[serde(skip_serializing_if = "Option::is_none")]
    push_id: Option<PushId>,
    /// `queued`, `sending`, `retry_at`, `accepted`, `rejected`, `expired`, `revoked`, `token_dead`, `cancelled`, `unknown`.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempts: Vec<AttemptOut>,
    due_at: Time,
    deadline: Time,
    consent_ids: Vec<ConsentId>,
    /// Whether a test key is behind it: it goes to the stand-in or the sandbox only.
    test: bool,
    collapse_id: String,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<Time>,
    /// The message that this one takes back from the phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    recalls: Option<String>,
    /// The Live Activity that this one starts, updates or ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_id: Option<String>,
    /// When it was asked to be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    recalled_at: Option<Time>,
    receipts: Vec<ReceiptOut>,
}

/// One hand-over, or the try of one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptOut {
    n: i64,
    started_at: Time,
    ended_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What the phone said of a message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Receipt)]
pub struct ReceiptOut {
    /// `delivered`, `displayed`, `opened` or `dismissed`.
    pub(super) kind: String,
    /// By the phone's clock, never before the message left.
    pub(super) at: Time,
    /// The button that was tapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<String>,
}

/// Lists messages, the oldest first.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/messages", tag = "messages", params(MessageQuery), responses(
    (status = 200, body = Page<MessageOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
    (status = 403, body = ProblemBody)), security(("server_key" = [])))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<MessageQuery>,
) -> Result<web::Json<Page<MessageOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let Query(query) = query;
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let wanted = MessageFilter {
        user_id: filter(query.user.as_deref(), "user")?,
        decision_id: filter(query.decision.as_deref(), "decision")?,
        campaign_id: filter(query.campaign.as_deref(), "campaign")?,
        state: query.state.map(State::word),
        recalls: true,
        after: page.after().to_owned(),
        limit: page.rows()?,
    };
    let app = caller.app_id;
    let found = platform
        .store
        .read(move |conn| {
            let rows = store::messages(conn, app, &wanted)?;
            shown(conn, app, rows)
        })
        .await?;
    Ok(web::Json(page.page(found, |m| m.id.to_string(), |m| m)?))
}

/// One message.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages", params(("id" = String, Path)), responses(
    (status = 200, body = MessageOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody)), security(("server_key" = [])))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<MessageOut>> {
    caller.need(Scope::DecisionsRead)?;
    one(&platform, caller.app_id, id(&path, "message")?).await.map(web::Json)
}

pub(super) async fn one(platform: &Platform, app: AppId, wanted: MessageId) -> Result<MessageOut> {
    let found = platform
        .store
        .read(move |conn| {
            let row = store::message(conn, app, wanted)?;
            shown(conn, app, row.into_iter().collect())
        })
        .await?;
    found.into_iter().next().ok_or_else(|| Error::not_found("message"))
}

/// What came back of these messages, by message.
pub(super) fn receipts_of(conn: &mut Conn, app: AppId, rows: &[MessageRow]) -> Result<HashMap<MessageId, Vec<ReceiptOut>>> {
    let ids: Vec<MessageId> = rows.iter().map(|r| r.id).collect();
    let mut receipts: HashMap<MessageId, Vec<ReceiptOut>> = HashMap::new();
    for row in store::receipts(conn, app, &ids)? {
        receipts.entry(row.message_id).or_default().push(receipt_out(row));
    }
    Ok(receipts)
}

fn shown(conn: &mut Conn, app: AppId, rows: Vec<MessageRow>) -> Result<Vec<MessageOut>> {
    let mut receipts = receipts_of(conn, app, &rows)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let own = receipts.remove(&row.id).unwrap_or_default();
            message_out(row, own)
        })
        .collect())
}

pub(super) fn receipt_out(row: ReceiptRow) -> ReceiptOut {
    ReceiptOut { kind: row.kind, at: Time(row.at_ms), action: row.action }
}

fn message_out(row: MessageRow, receipts: Vec<ReceiptOut>) -> MessageOut {
    let accepted = row.state == State::Accepted.word();
    let attempts = Attempt::all(row.attempts.0, &row.state, (row.attempt, row.sending_ms, row.ended_ms));
    MessageOut {
        id: row.id,
        decision_id: row.decision_id,
        user_id: row.user_id,
        device_id: row.device_id,
        token: if row.platform == Os::Web.name() {
            device::web::shown(&row.token)
        } else {
            device::address(&row.token).to_owned()
        },
        platform: row.platform,
        campaign_id: row.campaign_id,
        offer_id: row.offer_id,
        push_id: (is_direct(row.campaign_id, row.offer_id) && row.activity_id.is_empty()).then(|| row.campaign_id.uuid().into()),
        state: row.state,
        reason: row.reason,
        attempts: attempts
            .into_iter()
            .map(|a| AttemptOut {
                n: a.n,
                started_at: Time(a.started_ms),
                ended_at: Time(a.ended_ms),
                status: a.status,
                reason: a.reason,
            })
            .collect(),
        due_at: Time(row.due_ms),
        deadline: Time(row.deadline_ms),
        consent_ids: row.consent.0.consent_ids,
        test: row.test,
        collapse_id: row.collapse_id,
        created_at: Time(row.created_ms),
        ended_at: row.ended_ms.map(Time),
        accepted_at: row.ended_ms.filter(|_| accepted).map(Time),
        recalls: Some(row.recalls).filter(|id| !id.is_empty()),
        activity_id: Some(row.activity_id).filter(|id| !id.is_empty()),
        recalled_at: row.recalled_ms.map(Time),
        receipts,
    }
}

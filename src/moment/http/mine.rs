//! `/v1/me/messages`: a person's own inbox, and in plain words why something came.

use super::id;
use super::messages::{ReceiptOut, receipts_of};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Page, PageQuery, ProblemBody, Query};
use crate::id::{AppId, CampaignId, ConsentId, DecisionId, DeviceId, EventId, MessageId, UserId};
use crate::moment::store::{self, MessageFilter, MessageRow};
use crate::people::account::UserToken;
use crate::people::consent::{self, Record};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::web;
use serde::Serialize;
use serde_json::Value;

/// A message as the person sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MyMessage)]
pub struct MineOut {
    id: MessageId,
    decision_id: DecisionId,
    device_id: DeviceId,
    campaign_id: CampaignId,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    state: String,
    deadline: Time,
    created_at: Time,
    receipts: Vec<ReceiptOut>,
}

/// Why something came, for the person to whom it came.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Why)]
pub struct WhyOut {
    message_id: MessageId,
    decision_id: DecisionId,
    /// What happened that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    /// In sentences.
    because: Vec<String>,
    /// The records of consent that allowed it.
    consent_ids: Vec<ConsentId>,
    decided_at: Time,
}

/// Lists the caller's messages, the newest first.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/messages", tag = "me", params(PageQuery), responses(
    (status = 200, body = Page<MineOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn list(caller: UserToken, platform: web::Data<Platform>, query: Query<PageQuery>) -> Result<web::Json<Page<MineOut>>> {
    let page = query.0;
    let wanted = MessageFilter {
        user_id: Some(caller.user_id),
        after: page.after().to_owned(),
        newest_first: true,
        limit: page.rows()?,
        ..MessageFilter::default()
    };
    let found = platform
        .store
        .read(move |conn| {
            let rows = store::messages(conn, caller.app_id, &wanted)?;
            shown(conn, caller.app_id, rows)
        })
        .await?;
    Ok(web::Json(page.page(found, |m| m.id.to_string(), |m| m)?))
}

/// One of the caller's messages.
///
/// # Errors
/// 401, 404.
#[utoipa::path(get, path = "/v1/me/messages/{id}", tag = "me", params(("id" = String, Path)), responses(
    (status = 200, body = MineOut), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn read(caller: UserToken, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<MineOut>> {
    let wanted: MessageId = id(&path, "message")?;
    let found = platform
        .store
        .read(move |conn| {
            let row = own(conn, caller.app_id, caller.user_id, wanted)?;
            shown(conn, caller.app_id, vec![row])
        })
        .await?;
    found.into_iter().next().map(web::Json).ok_or_else(|| Error::not_found("message"))
}

/// Why one of the caller's messages came.
///
/// # Errors
/// 401, 404.
#[utoipa::path(get, path = "/v1/me/messages/{id}/why", tag = "me", params(("id" = String, Path)), responses(
    (status = 200, body = WhyOut), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn why(caller: UserToken, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<WhyOut>> {
    let wanted: MessageId = id(&path, "message")?;
    let out = platform.store.read(move |conn| explain(conn, caller.app_id, caller.user_id, wanted)).await?;
    Ok(web::Json(out))
}

fn own(conn: &mut Conn, app: AppId, user: UserId, wanted: MessageId) -> Result<MessageRow> {
    store::message(conn, app, wanted)?.filter(|m| m.user_id == user).ok_or_else(|| Error::not_found("message"))
}

fn explain(conn: &mut Conn, app: AppId, user: UserId, wanted: MessageId) -> Result<WhyOut> {
    let message = own(conn, app, user, wanted)?;
    let decision = store::decision(conn, app, message.decision_id)?.ok_or_else(|| Error::not_found("message"))?;
    let mut because = Vec::new();
    let moment_ids: Vec<_> = decision.moment_id.into_iter().collect();
    match store::moments(conn, app, &moment_ids)?.into_iter().next() {
        Some(moment) => because.push(format!(
            "Something happened at {} that opened a moment of the kind “{}” for you, until {}.",
            Time(moment.opened_ms),
            moment.kind,
            Time(moment.closes_ms)
        )),
        None => because.push("It was planned for you and others at this time.".to_owned()),
    }
    let records = consent::records(conn, app, user, &message.consent.0.consent_ids)?;
    let purpose = &message.consent.0.purpose;
    let of_trigger = |record: &&Record| record.row.extent.purpose != *purpose;
    for record in records.iter().filter(of_trigger) {
        let needed = &record.row.extent.purpose;
        because.push(format!("What happened was matched with you because you agreed to “{needed}” on {}.", Time(record.at_ms)));
    }
    match records.iter().find(|record| !of_trigger(record)) {
        Some(record) => because.push(format!("You agreed to messages of the purpose “{purpose}” on {}.", Time(record.at_ms))),
        None => {
            because.push(format!("Messages of the purpose “{purpose}” belong to the service that you use; they need no consent."))
        }
    }
    let others = decision.candidates.0.len().saturating_sub(1);
    if others > 0 {
        because.push(format!("Of {} offers that competed it was the one worth most to you at that time.", others + 1));
    }
    because.push("You can switch its topic off, pause messages or withdraw your consent at any time.".to_owned());
    Ok(WhyOut {
        message_id: message.id,
        decision_id: message.decision_id,
        event_id: decision.event_id,
        because,
        consent_ids: message.consent.0.consent_ids,
        decided_at: Time(decision.decided_ms),
    })
}

fn shown(conn: &mut Conn, app: AppId, rows: Vec<MessageRow>) -> Result<Vec<MineOut>> {
    let mut receipts = receipts_of(conn, app, &rows)?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let (title, body) = words(&row.payload);
            MineOut {
                receipts: receipts.remove(&row.id).unwrap_or_default(),
                id: row.id,
                decision_id: row.decision_id,
                device_id: row.device_id,
                campaign_id: row.campaign_id,
                title,
                body,
                state: row.state,
                deadline: Time(row.deadline_ms),
                created_at: Time(row.created_ms),
            }
        })
        .collect())
}

/// Title and body out of a payload of either gateway.
fn words(payload: &str) -> (Option<String>, Option<String>) {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let of = |part: &str| {
        ["/aps/alert", "/notification", "/message/notification"]
            .iter()
            .find_map(|at| payload.pointer(&format!("{at}/{part}")))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    (of("title"), of("body"))
}

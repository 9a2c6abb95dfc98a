//! `/v1/me/messages`: a person's own inbox. What they read or put away on one device is so on all.

use super::id;
use super::messages::{ReceiptOut, receipts_of};
use crate::app::Mode;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, PageQuery, ProblemBody, Query, given, unless_known};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, MessageId};
use crate::moment::store::{self, Mark, MessageRow, Owner, Shelf};
use crate::moment::words::Words;
use crate::people::account::UserToken;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Messages of one mark.
const MARKED_MAX: usize = 100;
/// Things that are marked in one transaction.
const MARKED_AT_ONCE: i64 = 500;

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
    /// URL of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// What the app opens on a tap.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// The app's own keys.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    state: String,
    deadline: Time,
    /// When it leaves the inbox.
    expires_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived_at: Option<Time>,
    created_at: Time,
    receipts: Vec<ReceiptOut>,
}

/// Which part of the inbox to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InboxQuery {
    /// `unread`, `read` or `archived`; all but the archived ones when left out.
    state: Option<InboxState>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What a person did with a message.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InboxState {
    /// Not read.
    Unread,
    /// Read, and not put away.
    Read,
    /// Put away.
    Archived,
}

/// A page of the inbox.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Inbox)]
pub struct InboxOut {
    items: Vec<MineOut>,
    /// How many of all are not read.
    unread: i64,
    /// Ask for the next page with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which messages to mark: `ids`, or `all_before`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarkMessages)]
pub struct MarkIn {
    /// Up to 100; those that are not the caller's are passed over.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 100)]
    ids: Option<Vec<MessageId>>,
    /// All in the inbox that were made before this time.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    all_before: Option<Time>,
}

/// What a mark did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MarkedMessages)]
pub struct MarkedOut {
    /// How many were not marked so before.
    changed: usize,
    /// How many of all are not read now.
    unread: i64,
}

/// Lists the caller's inbox, the newest first: each thing that was said once, however many devices it went to, until it
/// expires. What follows from a test key is in it only where the session was begun with one. With `If-None-Match` an
/// unchanged page is answered 304.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/messages", tag = "me", params(InboxQuery), responses(
    (status = 200, body = InboxOut), (status = 304, description = "It is as you know it"), (status = 400, body = ProblemBody),
    (status = 401, body = ProblemBody)), security(("user_token" = [])))]
pub async fn list(
    caller: UserToken,
    platform: web::Data<Platform>,
    request: HttpRequest,
    Query(query): Query<InboxQuery>,
) -> Result<HttpResponse> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (before, rows, of) = (page.after().to_owned(), page.rows()?, owner(&caller, &platform));
    let shelf = match query.state {
        None => Shelf::Open,
        Some(InboxState::Unread) => Shelf::Unread,
        Some(InboxState::Read) => Shelf::Read,
        Some(InboxState::Archived) => Shelf::Archived,
    };
    let (found, unread) = platform
        .store
        .read(move |conn| {
            let ids: Vec<MessageId> = store::inbox(conn, of, shelf, (&before, rows))?;
            let mut messages = store::messages_by_id(conn, of.app, &ids)?;
            messages.reverse();
            Ok((shown(conn, of.app, messages)?, store::unread(conn, of)?))
        })
        .await?;
    let page = page.page(found, |m| m.id.to_string(), |m| m)?;
    unless_known(&request, &InboxOut { items: page.items, unread, next_cursor: page.next_cursor })
}

/// One of the caller's messages, whether it stands in the inbox or not.
///
/// # Errors
/// 401, 404.
#[utoipa::path(get, path = "/v1/me/messages/{id}", tag = "me", params(("id" = String, Path)), responses(
    (status = 200, body = MineOut), (status = 304, description = "It is as you know it"), (status = 401, body = ProblemBody),
    (status = 404, body = ProblemBody)), security(("user_token" = [])))]
pub async fn read(
    caller: UserToken,
    platform: web::Data<Platform>,
    request: HttpRequest,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let (wanted, of): (MessageId, Owner) = (id(&path, "message")?, owner(&caller, &platform));
    let found = platform
        .store
        .read(move |conn| {
            let row = own(conn, of, wanted)?;
            shown(conn, of.app, vec![row])
        })
        .await?;
    unless_known(&request, &found.into_iter().next().ok_or_else(|| Error::not_found("message"))?)
}

/// Marks messages as read.
///
/// # Errors
/// 400, 401.
#[utoipa::path(post, path = "/v1/me/messages/read", tag = "me", request_body = MarkIn, responses(
    (status = 200, body = MarkedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn mark_read(caller: UserToken, platform: web::Data<Platform>, body: Body<MarkIn>) -> Result<web::Json<MarkedOut>> {
    mark(&caller, &platform, (Mark::Read, body.0)).await
}

/// Marks messages as not read.
///
/// # Errors
/// 400, 401.
#[utoipa::path(post, path = "/v1/me/messages/unread", tag = "me", request_body = MarkIn, responses(
    (status = 200, body = MarkedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn mark_unread(caller: UserToken, platform: web::Data<Platform>, body: Body<MarkIn>) -> Result<web::Json<MarkedOut>> {
    mark(&caller, &platform, (Mark::Unread, body.0)).await
}

/// Puts messages away.
///
/// # Errors
/// 400, 401.
#[utoipa::path(post, path = "/v1/me/messages/archive", tag = "me", request_body = MarkIn, responses(
    (status = 200, body = MarkedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn archive(caller: UserToken, platform: web::Data<Platform>, body: Body<MarkIn>) -> Result<web::Json<MarkedOut>> {
    mark(&caller, &platform, (Mark::Archived, body.0)).await
}

/// Takes messages out again that were put away.
///
/// # Errors
/// 400, 401.
#[utoipa::path(post, path = "/v1/me/messages/unarchive", tag = "me", request_body = MarkIn, responses(
    (status = 200, body = MarkedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn unarchive(caller: UserToken, platform: web::Data<Platform>, body: Body<MarkIn>) -> Result<web::Json<MarkedOut>> {
    mark(&caller, &platform, (Mark::Unarchived, body.0)).await
}

async fn mark(caller: &UserToken, platform: &Platform, (mark, body): (Mark, MarkIn)) -> Result<web::Json<MarkedOut>> {
    let of = owner(caller, platform);
    if body.ids.is_some() == body.all_before.is_some() {
        return Err(Error::invalid("ids", "invalid", "name `ids` or `all_before`, and not both"));
    }
    if body.ids.as_ref().is_some_and(|ids| ids.len() > MARKED_MAX) {
        return Err(Error::invalid("ids", "too_long", format!("at most {MARKED_MAX} messages per call")));
    }
    let MarkIn { ids, all_before } = body;
    let mut changed = 0;
    loop {
        let ids = ids.clone();
        let marked = platform
            .store
            .write(move |conn| {
                // Nobody's messages are forgotten between the look and the write.
                store::lock_receipts(conn, of.app)?;
                let chosen = match (ids, all_before) {
                    (Some(ids), _) => store::chosen_of(conn, of, &ids)?,
                    (None, Some(before)) => store::standing_before(conn, of, (mark, before.0, MARKED_AT_ONCE))?,
                    (None, None) => Vec::new(),
                };
                store::mark(conn, of, mark, &chosen)
            })
            .await?;
        changed += marked;
        // Those that were marked are not found again.
        if all_before.is_none() || i64::try_from(marked).is_ok_and(|n| n < MARKED_AT_ONCE) {
            break;
        }
    }
    let unread = platform.store.read(move |conn| store::unread(conn, of)).await?;
    Ok(web::Json(MarkedOut { changed, unread }))
}

pub(super) fn owner(caller: &UserToken, platform: &Platform) -> Owner {
    let tests = caller.mode == Mode::Test;
    Owner { app: caller.app_id, user: caller.user_id, tests, now_ms: platform.clock.now_ms() }
}

/// A message, if it is this user's.
pub(super) fn own(conn: &mut Conn, of: Owner, wanted: MessageId) -> Result<MessageRow> {
    let own = |m: &MessageRow| m.user_id == of.user && m.recalls.is_empty();
    store::message(conn, of.app, wanted)?.filter(own).ok_or_else(|| Error::not_found("message"))
}

fn shown(conn: &mut Conn, app: AppId, rows: Vec<MessageRow>) -> Result<Vec<MineOut>> {
    let mut receipts = receipts_of(conn, app, &rows)?;
    let chosen: Vec<ChoiceId> = rows.iter().map(|row| row.choice_id).collect();
    let marks = store::marks(conn, app, &chosen)?.into_iter().map(|(id, read, archived)| (id, (read, archived)));
    let marks: HashMap<ChoiceId, (Option<i64>, Option<i64>)> = marks.collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let Words { title, body, image, link, data } = Words::of(&row.payload);
            let (read_ms, archived_ms) = marks.get(&row.choice_id).copied().unwrap_or_default();
            MineOut {
                receipts: receipts.remove(&row.id).unwrap_or_default(),
                id: row.id,
                decision_id: row.decision_id,
                device_id: row.device_id,
                campaign_id: row.campaign_id,
                title,
                body,
                image,
                link,
                data,
                state: row.state,
                deadline: Time(row.deadline_ms),
                expires_at: Time(row.inbox_until_ms.unwrap_or(row.deadline_ms)),
                read_at: read_ms.map(Time),
                archived_at: archived_ms.map(Time),
                created_at: Time(row.created_ms),
            }
        })
        .collect())
}

//! `/v1/pushes`: direct pushes by an app's own back end.

use super::accept::Sender;
use super::results::{self, ResultOut};
use super::spec::{Kind, NewPush};
use super::store::{self, PushRow};
use super::tally::Counts;
use super::validate::Validated;
use super::{State, Unknown};
use crate::app::{BackOffice, Mode as KeyMode, Scope, count_events};
use crate::campaign::{Class, When};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query};
use crate::id::{AppId, PushId};
use crate::moment::live::Live;
use crate::moment::store::CampaignRecall;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest Idempotency-Key, in characters.
const KEY_CHARS_MAX: usize = 255;
/// Pushes of one read of a list: each is read with all its words, which may be many.
const READ_ROWS: i64 = 50;
/// Up to so many results are shown with a push itself.
const SHOWN_MAX: i64 = 100;

/// A push: what was asked for, how far it is, and what came of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Push)]
pub struct PushOut {
    id: PushId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    state: State,
    /// Whether a test key is behind it: it goes to the stand-in or the sandbox only.
    test: bool,
    purpose: String,
    class: Class,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    audience: Kind,
    /// An instant, or a time of each user's own clock.
    send_at: String,
    local: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_by: Option<Time>,
    /// How long after its time it may still be handed over, in milliseconds; absent with `deliver_by`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<i64>,
    /// Entries of the list behind which there is nobody.
    unknown: Vec<Unknown>,
    /// Users whom the walk through the audience has come to.
    visited: i64,
    /// Those of them who are not in the audience of the topic or the rule, by reason.
    outside: BTreeMap<String, i64>,
    /// What came of it so far; in lists only for those that have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    /// What came of it for each device, when there are at most 100; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ResultOut>>,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

/// The recall of what a push has shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PushRecall)]
pub struct PushRecallOut {
    push_id: PushId,
    asked_at: Time,
    /// How many phones have been told so far.
    recalled: i64,
    /// Absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    done_at: Option<Time>,
}

impl From<CampaignRecall> for PushRecallOut {
    fn from(row: CampaignRecall) -> Self {
        Self {
            push_id: row.campaign_id.uuid().into(),
            asked_at: Time(row.asked_ms),
            recalled: row.recalled,
            done_at: row.done_ms.map(Time),
        }
    }
}

/// Which pushes to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PushQuery {
    /// Only those in this state.
    state: Option<State>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl From<PushRow> for PushOut {
    fn from(row: PushRow) -> Self {
        let state = row.state().unwrap_or(State::Running);
        let PushRow { id, name, test, spec, unknown, visited, outside, settled, created_ms, ended_ms, .. } = row;
        let spec = spec.0;
        let (send_at, local) = match spec.when {
            When::At(at) => (at.to_string(), false),
            When::Local(local) => (local.to_string(), true),
        };
        Self {
            id,
            name,
            state,
            test,
            purpose: spec.purpose,
            class: spec.class,
            topic: spec.topic,
            category: spec.category,
            audience: spec.audience,
            send_at,
            local,
            ttl_ms: spec.deliver_by.is_none().then_some(spec.window_ms),
            deliver_by: spec.deliver_by,
            unknown: unknown.0,
            visited,
            outside: outside.0,
            counts: ended_ms.map(|_| settled.0.counts()),
            results: None,
            created_at: Time(created_ms),
            ended_at: ended_ms.map(Time),
        }
    }
}

/// Sends a push to users, devices, everybody with a topic, or everybody of whom a rule is true: now, or at its time. Each
/// user passes the gates of every moment, and each decision is stored with its reason. With `validate_only` everything is
/// checked and counted, nothing is kept and nothing is sent.
///
/// # Errors
/// 400, 401, 403, 409, 422 when the `Idempotency-Key` came with another push.
#[utoipa::path(post, path = "/v1/pushes", tag = "pushes", request_body = NewPush, security(("server_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and push answer the same push.")),
    responses((status = 200, description = "With `validate_only`.", body = Validated), (status = 202, body = PushOut, headers(("Location" = String))),
        (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub async fn create(
    caller: BackOffice,
    (platform, live): (web::Data<Platform>, web::Data<Live>),
    request: HttpRequest,
    body: Body<NewPush>,
) -> Result<HttpResponse> {
    caller.need(Scope::PushWrite)?;
    let (app, test, key) = (caller.app_id, caller.mode == KeyMode::Test, idempotency_key(&request)?);
    if body.0.validate_only {
        // The call itself has paid for one.
        let pays = async |requests: usize| count_events(&request, requests + 1).await;
        return Ok(HttpResponse::Ok().json(live.validate((app, test), body.0, pays).await?));
    }
    let row = live.accept(Sender { app, test, key }, body.0).await?;
    let out = platform.store.read(move |conn| shown(conn, row)).await?;
    Ok(HttpResponse::Accepted().insert_header((LOCATION, format!("/v1/pushes/{}", out.id))).json(out))
}

/// Lists pushes, the newest first.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/pushes", tag = "pushes", params(PushQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<PushOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<PushQuery>,
) -> Result<web::Json<Page<PushOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let PushQuery { state, limit, cursor } = query.0;
    let page = PageQuery { limit, cursor };
    let (rows, before, app) = (page.rows()?, page.after().to_owned(), caller.app_id);
    let found = platform.store.read(move |conn| listed(conn, app, (before, state, rows))).await?;
    Ok(web::Json(page.page(found, |push| push.id.to_string(), |push| push)?))
}

/// Reads a push: how far it is and what came of it.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/pushes/{id}", tag = "pushes", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = PushOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<PushOut>> {
    caller.need(Scope::DecisionsRead)?;
    one(&platform, (caller.app_id, push_id(&path)?)).await.map(web::Json)
}

/// Stops a push: what is scheduled, held or queued of it ends as `cancelled`. What is being sent at this moment goes its
/// way and is not tried again. Stopping it twice is no fault. A test key stops pushes that are tests alone.
///
/// # Errors
/// 401, 403, 404, 409 `has_ended`.
#[utoipa::path(post, path = "/v1/pushes/{id}/cancel", tag = "pushes", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = PushOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn cancel(
    caller: BackOffice,
    (platform, live): (web::Data<Platform>, web::Data<Live>),
    path: web::Path<String>,
) -> Result<web::Json<PushOut>> {
    caller.need(Scope::PushWrite)?;
    let of = (caller.app_id, push_id(&path)?);
    live.cancel_push(of, caller.mode == KeyMode::Test).await?;
    one(&platform, of).await.map(web::Json)
}

/// Takes a push back: stops what of it has not left, as `…/cancel` does, and takes back what it has shown in the last 30
/// days. That works in the background; asking again tells how far it is, and begins anew once it is done. A test key takes
/// back pushes that are tests alone.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(post, path = "/v1/pushes/{id}/recall", tag = "pushes", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 202, body = PushRecallOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn recall(caller: BackOffice, live: web::Data<Live>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::PushWrite)?;
    let of = (caller.app_id, push_id(&path)?);
    let walk = live.recall_push(of, caller.mode == KeyMode::Test).await?;
    Ok(HttpResponse::Accepted().json(PushRecallOut::from(walk)))
}

/// What came of a push for each device, by user and device. A user who gets it on none has one result, with the reason.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/pushes/{id}/results", tag = "pushes", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<ResultOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn results(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<ResultOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let (of, rows, after) = ((caller.app_id, push_id(&path)?), page.0.rows()?, page.0.after().to_owned());
    let found = platform
        .store
        .read(move |conn| {
            store::get(conn, of.0, of.1)?.ok_or_else(|| Error::not_found("push"))?;
            results::page(conn, of, (&after, rows))
        })
        .await?;
    Ok(web::Json(page.0.page(found, ResultOut::key, |result| result)?))
}

/// As `…/results`, all of them as a stream with one JSON object on each line.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/pushes/{id}/results.ndjson", tag = "pushes", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ResultOut, content_type = "application/x-ndjson"), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn export(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::DecisionsRead)?;
    let of = (caller.app_id, push_id(&path)?);
    platform.store.read(move |conn| store::get(conn, of.0, of.1)).await?.ok_or_else(|| Error::not_found("push"))?;
    let lines = results::lines(platform.get_ref().clone(), of);
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/x-ndjson")).streaming(lines))
}

/// Pushes before an id, the newest first, a few at a time.
fn listed(conn: &mut Conn, app: AppId, (mut before, state, rows): (String, Option<State>, i64)) -> Result<Vec<PushOut>> {
    let mut listed: Vec<PushOut> = Vec::new();
    let mut left = rows;
    loop {
        let wanted = left.min(READ_ROWS);
        let found = store::page(conn, app, (&before, state, wanted))?;
        let n = i64::try_from(found.len()).unwrap_or(i64::MAX);
        listed.extend(found.into_iter().map(PushOut::from));
        left -= n;
        match listed.last() {
            Some(last) if n == wanted && left > 0 => before = last.id.to_string(),
            Some(_) | None => return Ok(listed),
        }
    }
}

async fn one(platform: &Platform, (app, id): (AppId, PushId)) -> Result<PushOut> {
    let read = move |conn: &mut Conn| {
        let row = store::get(conn, app, id)?.ok_or_else(|| Error::not_found("push"))?;
        shown(conn, row)
    };
    platform.store.read(read).await
}

/// A push with what came of it so far.
fn shown(conn: &mut Conn, row: PushRow) -> Result<PushOut> {
    let of = (row.app_id, row.id);
    let tally = match row.ended_ms {
        Some(_) => row.settled.0.clone(),
        None => store::count_after(conn, of, row.cursor_user_id)?.and(&row.settled.0),
    };
    let over = !tally.waits() && (row.ended_ms.is_some() || !store::walks(conn, of.0, of.1)?);
    let results = if over && tally.results() <= SHOWN_MAX { Some(results::page(conn, of, ("", SHOWN_MAX))?) } else { None };
    let out = PushOut::from(row);
    let state = match out.state {
        // Everything has ended; that is noted within a second.
        State::Running if over => State::Done,
        state @ (State::Scheduled | State::Running | State::Done | State::Cancelled) => state,
    };
    Ok(PushOut { state, counts: Some(tally.counts()), results, ..out })
}

fn push_id(text: &str) -> Result<PushId> {
    text.parse().map_err(|_| Error::not_found("push"))
}

/// The key by which a push that is sent again is known.
pub(in crate::moment) fn idempotency_key(request: &HttpRequest) -> Result<Option<String>> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    let key = value.to_str().unwrap_or("").trim();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        let message = format!("expected 1 to {KEY_CHARS_MAX} visible characters");
        return Err(Error::invalid("Idempotency-Key", "invalid", message));
    }
    Ok(Some(key.to_owned()))
}

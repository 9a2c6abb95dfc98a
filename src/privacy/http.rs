//! `/v1/me/export`, `/v1/users/{id}/export`, erasure and its undoing.

use super::erase;
use super::export::Export;
use crate::app::{BackOffice, Scope};
use crate::cache::Budget;
use crate::clock::{HOUR_MS, Time};
use crate::error::{Error, Problem, Result};
use crate::http::{Body, ProblemBody};
use crate::id::{AppId, ErasureId, UserId};
use crate::people::account::UserToken;
use crate::people::consent::Source;
use crate::people::erasure::{self, Erasure, State};
use crate::platform::Platform;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Exports of one user in an hour, by the user and by the app's servers each.
const EXPORTS_PER_HOUR: u32 = 6;

/// What was asked for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErasureAsked {
    erasure: ErasureOut,
}

/// The erasure of a user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureOut {
    id: ErasureId,
    state: State,
    asked_at: Time,
    /// Until then it can be undone; then it is done.
    due_at: Time,
    /// When nothing was left, or when it was undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

/// Nothing more is needed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreIn {}

/// Everything held about a user. Its form has the name `schema`; all rows are in `data`, by section.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Export)]
pub struct ExportOut {
    /// `kairos.export/1`.
    schema: String,
    generated_at: Time,
    /// Who decides about these data: the app.
    controller: String,
    user_id: UserId,
    /// For what they are used, and on which basis.
    #[schema(value_type = Vec<Object>)]
    purposes: Vec<serde_json::Value>,
    /// What was shown when consent was asked for.
    #[schema(value_type = Vec<Object>)]
    texts: Vec<serde_json::Value>,
    /// Who has got some of them.
    #[schema(value_type = Object)]
    recipients: serde_json::Value,
    /// For how long they are kept.
    #[schema(value_type = Object)]
    retention_ms: serde_json::Value,
    sources: String,
    automated_decisions: String,
    rights: Vec<String>,
    /// The rows.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl From<Erasure> for ErasureOut {
    fn from(erasure: Erasure) -> Self {
        let Erasure { id, state, asked_ms, due_ms, ended_ms, .. } = erasure;
        Self { id, state, asked_at: Time(asked_ms), due_at: Time(due_ms), ended_at: ended_ms.map(Time) }
    }
}

fn user_id(path: &str) -> Result<UserId> {
    path.parse().map_err(|_| Error::not_found("user"))
}

/// Everything held about oneself, as one JSON document to keep. The user has proven lately who they are.
///
/// # Errors
/// 401 `insufficient_user_authentication`, 429 after six in an hour.
#[utoipa::path(get, path = "/v1/me/export", tag = "me", security(("user_token" = [])),
    responses((status = 200, body = ExportOut, headers(("Content-Disposition" = String))), (status = 401, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub async fn export(caller: UserToken, platform: web::Data<Platform>) -> Result<HttpResponse> {
    caller.need_fresh(platform.clock.now_ms())?;
    document(&platform, (caller.app_id, caller.user_id), "me").await
}

/// Everything held about a user, as one JSON document to hand on to them; also while their erasure can be undone.
///
/// # Errors
/// 401, 403, 404, 429 after six in an hour.
#[utoipa::path(get, path = "/v1/users/{id}/export", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ExportOut, headers(("Content-Disposition" = String))), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn export_user(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersRead)?;
    document(&platform, (caller.app_id, user_id(&path)?), "server").await
}

async fn document(platform: &Platform, (app, user): (AppId, UserId), by: &str) -> Result<HttpResponse> {
    let export = Export::begin(platform, (app, user)).await?;
    let bucket = format!("export:{by}:{app}:{user}");
    let budget = Budget { bucket: &bucket, limit: EXPORTS_PER_HOUR, window_ms: HOUR_MS };
    if let Err(wait_ms) = platform.cache.take(budget, 1, platform.clock.now_ms()).await {
        let wait_s = u64::try_from(wait_ms.max(0)).unwrap_or(0).div_ceil(1_000).max(1);
        let detail = format!("A user's data can be exported {EXPORTS_PER_HOUR} times in an hour; the next time in {wait_s} s.");
        let mut problem = Problem::new(429, "too_many_exports", detail);
        problem.retry_after_s = Some(wait_s);
        return Err(problem.into());
    }
    let file = format!("attachment; filename=\"kairos-export-{user}.json\"");
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "application/json")).insert_header((CONTENT_DISPOSITION, file));
    Ok(response.streaming(export.pieces()))
}

/// Leaves for good: signs out everywhere at once, and has everything erased. Signing in again before `due_at` undoes it.
///
/// # Errors
/// 401 `insufficient_user_authentication`.
#[utoipa::path(delete, path = "/v1/me", tag = "me", security(("user_token" = [])),
    responses((status = 202, body = ErasureAsked), (status = 401, body = ProblemBody)))]
pub async fn leave(caller: UserToken, platform: web::Data<Platform>) -> Result<HttpResponse> {
    caller.need_fresh(platform.clock.now_ms())?;
    let erasure = erase::ask(&platform, (caller.app_id, caller.user_id), "user".to_owned()).await?;
    Ok(HttpResponse::Accepted().json(ErasureAsked { erasure: erasure.into() }))
}

/// Erases a user: they are signed out everywhere and hear nothing more at once; their data follow at `due_at`.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 202, body = ErasureAsked), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn erase_user(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let by = Source::from(caller.who).to_string();
    let erasure = erase::ask(&platform, (caller.app_id, user_id(&path)?), by).await?;
    Ok(HttpResponse::Accepted().json(ErasureAsked { erasure: erasure.into() }))
}

/// Undoes an erasure that is still waiting. The user signs in again, and devices register again.
///
/// # Errors
/// 400, 401, 403, 404 when nothing is waiting to be undone.
#[utoipa::path(post, path = "/v1/users/{id}/restore", tag = "users", params(("id" = String, Path)), request_body = RestoreIn,
    security(("server_key" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn restore(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<RestoreIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let RestoreIn {} = body.0;
    erase::restore(&platform, (caller.app_id, user_id(&path)?)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// How far an erasure is: proof that it was done, without a word of whom.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/erasures/{id}", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ErasureOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<ErasureOut>> {
    caller.need(Scope::UsersRead)?;
    let id: ErasureId = path.parse().map_err(|_| Error::not_found("erasure"))?;
    let erasure = platform.store.read(move |conn| erasure::read(conn, caller.app_id, id)).await?;
    Ok(web::Json(erasure.into()))
}

//! `/v1/users/import`, `/v1/devices/import` and `/v1/imports/{id}`.

use super::LineError;
use super::line::UserLine;
use super::receive::receive;
use super::store::{self, Job, Kind, State};
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::ProblemBody;
use crate::id::ImportId;
use crate::platform::Platform;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

/// An import: how far it is and what came of its lines.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Import)]
pub struct ImportOut {
    id: ImportId,
    kind: Kind,
    state: State,
    /// How many lines there are.
    lines: i64,
    /// How many of them have been worked on.
    done: i64,
    /// How many made something new.
    created: i64,
    /// How many were about something that was known.
    updated: i64,
    /// How many failed.
    failed: i64,
    /// What was wrong with the first 100 of those.
    errors: Vec<LineError>,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Time>,
}

impl From<Job> for ImportOut {
    fn from(job: Job) -> Self {
        let Job { id, kind, state, lines, done, created, updated, failed, errors, created_ms, finished_ms, .. } = job;
        let (created_at, finished_at) = (Time(created_ms), finished_ms.map(Time));
        Self { id, kind, state, lines, done, created, updated, failed, errors, created_at, finished_at }
    }
}

async fn create(
    caller: &BackOffice,
    platform: &Platform,
    kind: Kind,
    (request, payload): (HttpRequest, web::Payload),
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let job = receive(platform, (caller.app_id, kind), (request.headers(), payload)).await?;
    let location = format!("/v1/imports/{}", job.id);
    Ok(HttpResponse::Accepted().insert_header((LOCATION, location)).json(ImportOut::from(job)))
}

/// Takes in users of another system, one JSON object on each line. A user who is known by their external id (without one
/// by their address) is updated, others are made. Passwords that were set here and addresses that users have proven stay.
///
/// # Errors
/// 400, 401, 403, 408, 413, 415, 422 when the `Idempotency-Key` came with another body, 429 when too many are under way.
#[utoipa::path(post, path = "/v1/users/import", tag = "users", security(("server_key" = [])),
    request_body(content = UserLine, content_type = "application/x-ndjson"),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body answer the same import.")),
    responses((status = 202, body = ImportOut, headers(("Location" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 408, body = ProblemBody), (status = 413, body = ProblemBody), (status = 415, body = ProblemBody),
        (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn users(
    caller: BackOffice,
    platform: web::Data<Platform>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse> {
    create(&caller, &platform, Kind::Users, (request, payload)).await
}

/// Takes in installations and their push tokens, one JSON object on each line: `user_id` or `external_id`,
/// `installation_id`, and what `PUT /v1/users/{id}/devices/{installation_id}` takes.
///
/// # Errors
/// 400, 401, 403, 408, 413, 415, 422 when the `Idempotency-Key` came with another body, 429 when too many are under way.
#[utoipa::path(post, path = "/v1/devices/import", tag = "users", security(("server_key" = [])),
    request_body(content = String, content_type = "application/x-ndjson"),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body answer the same import.")),
    responses((status = 202, body = ImportOut, headers(("Location" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 408, body = ProblemBody), (status = 413, body = ProblemBody), (status = 415, body = ProblemBody),
        (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn devices(
    caller: BackOffice,
    platform: web::Data<Platform>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse> {
    create(&caller, &platform, Kind::Devices, (request, payload)).await
}

/// Reads how far an import is. It is known for 30 days after its end.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/imports/{id}", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ImportOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<ImportOut>> {
    caller.need(Scope::UsersRead)?;
    let none = || Error::not_found("import");
    let id: ImportId = path.parse().map_err(|_| none())?;
    let found = platform.store.read(move |conn| store::read(conn, caller.app_id, id)).await?;
    Ok(web::Json(found.ok_or_else(none)?.into()))
}

//! `/v1/partners/{id}/webhooks`: a partner's endpoints, managed by the app's own servers. They hear of nothing but what
//! concerns that partner.

use super::http::{parse, partner};
use crate::app::{BackOffice, Scope};
use crate::error::Result;
use crate::http::{Body, Page, PageQuery, ProblemBody, Query};
use crate::platform::Platform;
use crate::webhook::Owner;
use crate::webhook::http::{
    DeliveryOut, DeliveryQuery, ReplayIn, ReplayOut, RotateIn, TestOut, WebhookIn, WebhookOut, WebhookPatch, WebhookSecretOut,
    desk,
};
use actix_web::{HttpResponse, web};

async fn owner(platform: &Platform, caller: &BackOffice, id: &str) -> Result<Owner> {
    let (app, id) = (caller.app_id, parse(id)?);
    platform.store.read(move |conn| partner(conn, app, id)).await?;
    Ok(Owner { app, partner: Some(id) })
}

/// Adds one of a partner's endpoints. Its secret is in this answer only.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/partners/{id}/webhooks", tag = "partner", params(("id" = String, Path)), request_body = WebhookIn, security(("server_key" = [])),
    responses((status = 201, body = WebhookSecretOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn create(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<WebhookIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path).await?;
    desk::create(&platform, owner, body.0).await
}

/// Lists a partner's endpoints.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/partners/{id}/webhooks", tag = "partner", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<WebhookOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<WebhookOut>>> {
    caller.need(Scope::WebhooksRead)?;
    let owner = owner(&platform, &caller, &path).await?;
    desk::list(&platform, owner, page.0).await
}

/// Shows one of a partner's endpoints.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/partners/{id}/webhooks/{webhook}", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = WebhookOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<web::Json<WebhookOut>> {
    caller.need(Scope::WebhooksRead)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::read(&platform, owner, desk::webhook_id(&path.1)?).await
}

/// Changes one of a partner's endpoints.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(patch, path = "/v1/partners/{id}/webhooks/{webhook}", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path)), request_body = WebhookPatch, security(("server_key" = [])),
    responses((status = 200, body = WebhookOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<WebhookPatch>,
) -> Result<web::Json<WebhookOut>> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::patch(&platform, owner, (desk::webhook_id(&path.1)?, body.0)).await
}

/// Deletes one of a partner's endpoints and all that was to go there.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/partners/{id}/webhooks/{webhook}", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::delete(&platform, owner, desk::webhook_id(&path.1)?).await
}

/// Makes a new secret, in this answer only. Until the old one expires, messages are signed with both.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(post, path = "/v1/partners/{id}/webhooks/{webhook}/secret/rotate", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path)), request_body = RotateIn, security(("server_key" = [])),
    responses((status = 200, body = WebhookSecretOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn rotate(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<RotateIn>,
) -> Result<web::Json<WebhookSecretOut>> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::rotate(&platform, owner, (desk::webhook_id(&path.1)?, body.0)).await
}

/// Sends a `webhook.test` message now and tells what came of it. It is sent once, and to a disabled endpoint too.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(post, path = "/v1/partners/{id}/webhooks/{webhook}/test", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = TestOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn test(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<web::Json<TestOut>> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::test(&platform, owner, desk::webhook_id(&path.1)?).await
}

/// Lists what went or goes to an endpoint, the newest first, with every attempt; 30 days back.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/partners/{id}/webhooks/{webhook}/deliveries", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path), DeliveryQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<DeliveryOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn deliveries(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    query: Query<DeliveryQuery>,
) -> Result<web::Json<Page<DeliveryOut>>> {
    caller.need(Scope::WebhooksRead)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::deliveries(&platform, owner, (desk::webhook_id(&path.1)?, query.0)).await
}

/// Sends one delivery again, delivered or not, under its own id and on a new schedule.
///
/// # Errors
/// 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/partners/{id}/webhooks/{webhook}/deliveries/{delivery}/replay", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path), ("delivery" = String, Path)), security(("server_key" = [])),
    responses((status = 202, body = DeliveryOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn replay_one(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::replay_one(&platform, owner, (desk::webhook_id(&path.1)?, path.2.as_str())).await
}

/// Sends again all that failed since a time, each under its own id and on a new schedule.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/partners/{id}/webhooks/{webhook}/replay", tag = "partner", params(("id" = String, Path), ("webhook" = String, Path)), request_body = ReplayIn, security(("server_key" = [])),
    responses((status = 202, body = ReplayOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn replay_since(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<ReplayIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = owner(&platform, &caller, &path.0).await?;
    desk::replay_since(&platform, owner, (desk::webhook_id(&path.1)?, body.0)).await
}

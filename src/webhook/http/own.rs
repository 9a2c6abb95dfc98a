//! `/v1/webhooks`: the app's own endpoints, managed by its servers.

use super::desk;
use super::{
    DeliveryOut, DeliveryQuery, ReplayIn, ReplayOut, RotateIn, TestOut, WebhookIn, WebhookOut, WebhookPatch, WebhookSecretOut,
};
use crate::app::{BackOffice, Scope};
use crate::error::Result;
use crate::http::{Body, Page, PageQuery, ProblemBody, Query};
use crate::platform::Platform;
use crate::webhook::Owner;
use actix_web::{HttpResponse, web};

fn own(caller: &BackOffice) -> Owner {
    Owner { app: caller.app_id, partner: None }
}

/// Adds one of the app's endpoints. Its secret is in this answer only.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = WebhookIn, security(("server_key" = [])),
    responses((status = 201, body = WebhookSecretOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<WebhookIn>) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::create(&platform, owner, body.0).await
}

/// Lists the app's endpoints.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<WebhookOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<WebhookOut>>> {
    caller.need(Scope::WebhooksRead)?;
    let owner = own(&caller);
    desk::list(&platform, owner, page.0).await
}

/// Shows one of the app's endpoints.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = WebhookOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<WebhookOut>> {
    caller.need(Scope::WebhooksRead)?;
    let owner = own(&caller);
    desk::read(&platform, owner, desk::webhook_id(&path)?).await
}

/// Changes one of the app's endpoints.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), request_body = WebhookPatch, security(("server_key" = [])),
    responses((status = 200, body = WebhookOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<WebhookPatch>,
) -> Result<web::Json<WebhookOut>> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::patch(&platform, owner, (desk::webhook_id(&path)?, body.0)).await
}

/// Deletes one of the app's endpoints and all that was to go there.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::delete(&platform, owner, desk::webhook_id(&path)?).await
}

/// Makes a new secret, in this answer only. Until the old one expires, messages are signed with both.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(post, path = "/v1/webhooks/{id}/secret/rotate", tag = "webhooks", params(("id" = String, Path)), request_body = RotateIn, security(("server_key" = [])),
    responses((status = 200, body = WebhookSecretOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn rotate(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<RotateIn>,
) -> Result<web::Json<WebhookSecretOut>> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::rotate(&platform, owner, (desk::webhook_id(&path)?, body.0)).await
}

/// Sends a `webhook.test` message now and tells what came of it. It is sent once, and to a disabled endpoint too.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = TestOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn test(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<TestOut>> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::test(&platform, owner, desk::webhook_id(&path)?).await
}

/// Lists what went or goes to an endpoint, the newest first, with every attempt; 30 days back.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), DeliveryQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<DeliveryOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn deliveries(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    query: Query<DeliveryQuery>,
) -> Result<web::Json<Page<DeliveryOut>>> {
    caller.need(Scope::WebhooksRead)?;
    let owner = own(&caller);
    desk::deliveries(&platform, owner, (desk::webhook_id(&path)?, query.0)).await
}

/// Sends one delivery again, delivered or not, under its own id and on a new schedule.
///
/// # Errors
/// 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/webhooks/{id}/deliveries/{delivery}/replay", tag = "webhooks", params(("id" = String, Path), ("delivery" = String, Path)), security(("server_key" = [])),
    responses((status = 202, body = DeliveryOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn replay_one(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::replay_one(&platform, owner, (desk::webhook_id(&path.0)?, path.1.as_str())).await
}

/// Sends again all that failed since a time, each under its own id and on a new schedule.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/webhooks/{id}/replay", tag = "webhooks", params(("id" = String, Path)), request_body = ReplayIn, security(("server_key" = [])),
    responses((status = 202, body = ReplayOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn replay_since(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<ReplayIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::WebhooksWrite)?;
    let owner = own(&caller);
    desk::replay_since(&platform, owner, (desk::webhook_id(&path)?, body.0)).await
}

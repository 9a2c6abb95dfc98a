//! `/v1/me/devices/{installation_id}/start-tokens`: by which Live Activities are started on a phone from afar.

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody};
use crate::people::account::{self, UserToken};
use crate::people::check;
use crate::people::device::activity::{self, attributes_type};
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

/// A push-to-start token.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StartToken)]
pub struct StartTokenIn {
    /// What `Activity<…>.pushToStartTokenUpdates` gives, in hex.
    #[schema(value_type = String, max_length = 400)]
    token: Secret,
}

/// Says by which token Live Activities of a type are started on one's own iPhone (iOS 17.2). It takes the place of the one
/// before, and goes when the device changes hands, signs out or loses its own token.
///
/// # Errors
/// 400, 401, 404, 409 `no_device_token`, `too_many_start_tokens`.
#[utoipa::path(put, path = "/v1/me/devices/{installation_id}/start-tokens/{attributes_type}", tag = "me", request_body = StartTokenIn,
    security(("user_token" = [])), params(("installation_id" = String, Path),
        ("attributes_type" = String, Path, description = "The name of the app's `ActivityAttributes`.")),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn put(
    caller: UserToken,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<StartTokenIn>,
) -> Result<HttpResponse> {
    let (installation_id, of_type) = path.into_inner();
    check::installation("installation_id", &installation_id).map_err(|_| Error::not_found("device"))?;
    attributes_type("attributes_type", &of_type)?;
    let (token, now_ms) = (activity::token(body.0.token.expose())?, platform.clock.now_ms());
    let (app, user, session) = (caller.app_id, caller.user_id, caller.session_id);
    let write = move |conn: &mut Conn| {
        account::keep_open(conn, app, session)?;
        let device = activity::phone(conn, app, user, &installation_id)?;
        let displaced = activity::put_start(conn, app, (user, device.id), (&of_type, &token, now_ms))?;
        Ok(((), Whose::Users(displaced)))
    };
    platform.write_and_fence(app, write, |()| ()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Forgets by which token Live Activities of a type are started on one's own device: none is from now on.
///
/// # Errors
/// 401, 404, 409 `no_device_token`.
#[utoipa::path(delete, path = "/v1/me/devices/{installation_id}/start-tokens/{attributes_type}", tag = "me",
    params(("installation_id" = String, Path), ("attributes_type" = String, Path)), security(("user_token" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn forget(caller: UserToken, platform: web::Data<Platform>, path: web::Path<(String, String)>) -> Result<HttpResponse> {
    let (installation_id, of_type) = path.into_inner();
    check::installation("installation_id", &installation_id).map_err(|_| Error::not_found("device"))?;
    let (app, user) = (caller.app_id, caller.user_id);
    let forget = move |conn: &mut Conn| {
        let device = activity::phone(conn, app, user, &installation_id)?;
        activity::drop_start(conn, app, device.id, &of_type)
    };
    platform.store.write(forget).await?;
    Ok(HttpResponse::NoContent().finish())
}

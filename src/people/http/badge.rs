//! `/v1/me/devices/{installation_id}/badge`: the app says which number its icon shows.

use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody};
use crate::people::account::UserToken;
use crate::people::check;
use crate::people::device::{self, Count};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

/// Highest number on an icon.
const BADGE_MAX: i64 = 1_000_000;

/// The number on an icon.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceBadge)]
pub struct BadgeIn {
    /// 0 once the user has seen everything.
    #[schema(minimum = 0, maximum = 1_000_000)]
    badge: i64,
}

/// Says which number the app's icon shows on one's own device: what pushes add is counted from there.
///
/// # Errors
/// 400, 401, 404.
#[utoipa::path(put, path = "/v1/me/devices/{installation_id}/badge", tag = "me", request_body = BadgeIn, security(("user_token" = [])),
    params(("installation_id" = String, Path)),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn put(
    caller: UserToken,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<BadgeIn>,
) -> Result<HttpResponse> {
    let (installation_id, number) = (path.into_inner(), body.0.badge);
    check::installation("installation_id", &installation_id).map_err(|_| Error::not_found("device"))?;
    if !(0..=BADGE_MAX).contains(&number) {
        return Err(Error::invalid("badge", "out_of_range", format!("must be 0 to {BADGE_MAX}")));
    }
    let written = platform.store.write(move |conn| {
        let device = device::of_installation(conn, caller.app_id, caller.user_id, &installation_id)?;
        device::count_badges(conn, caller.app_id, (&[device.id], Count::Put(number))).map(|_| ())
    });
    written.await?;
    Ok(HttpResponse::NoContent().finish())
}

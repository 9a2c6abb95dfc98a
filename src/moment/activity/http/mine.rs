//! `/v1/me/devices/{installation_id}/activities`: the Live Activities on one's own phone.

use crate::app::Mode;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody};
use crate::id::ActivityId;
use crate::moment::activity::phone::{self, Phone, Said};
use crate::people::account::{self, UserToken};
use crate::people::check;
use crate::people::device::activity;
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::push::activity::attributes_type;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// An activity on a phone.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RunningActivity)]
pub struct RunningIn {
    /// What the activity's `pushTokenUpdates` gives, in hex.
    #[schema(value_type = String, max_length = 400)]
    token: Secret,
    /// The name of the app's `ActivityAttributes`.
    #[schema(max_length = 100)]
    attributes_type: String,
}

/// Which activity it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = KnownActivity)]
pub struct KnownOut {
    activity_id: ActivityId,
}

/// Says to which token the updates of a Live Activity on one's own iPhone go: each time that the phone has a new one. What
/// waited for it is sent.
///
/// # Errors
/// 400, 401, 404, 409 `no_device_token`, `activity_over`, `too_many_activities`.
#[utoipa::path(put, path = "/v1/me/devices/{installation_id}/activities/{activity_id}", tag = "me", request_body = RunningIn,
    security(("user_token" = [])), params(("installation_id" = String, Path),
        ("activity_id" = String, Path, description = "The attribute `kairos_activity_id` of one that was started from afar; of one that the \
            app has begun, the phone's own id for it: 1 to 100 of letters, digits, . _ : -")),
    responses((status = 200, body = KnownOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn put(
    caller: UserToken,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<RunningIn>,
) -> Result<web::Json<KnownOut>> {
    let (phone, name) = of(&caller, path.into_inner())?;
    check::installation("activity_id", &name)?;
    attributes_type("attributes_type", &body.0.attributes_type)?;
    let said = Said { name, token: activity::token(body.0.token.expose())?, attributes_type: body.0.attributes_type };
    let (app, session, ids, now_ms) = (caller.app_id, caller.session_id, platform.ids.clone(), platform.clock.now_ms());
    let write = move |conn: &mut Conn| {
        account::keep_open(conn, app, session)?;
        let (activity_id, displaced) = phone::put(conn, &phone, &said, (&ids, now_ms))?;
        Ok((activity_id, Whose::Users(displaced)))
    };
    let activity_id = platform.write_and_fence(app, write, |_| ()).await?;
    platform.push_hint.nudge();
    Ok(web::Json(KnownOut { activity_id }))
}

/// Says that a Live Activity on one's own phone is over: it gets no more updates.
///
/// # Errors
/// 401, 404, 409 `no_device_token`.
#[utoipa::path(delete, path = "/v1/me/devices/{installation_id}/activities/{activity_id}", tag = "me",
    params(("installation_id" = String, Path), ("activity_id" = String, Path)), security(("user_token" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn end(caller: UserToken, platform: web::Data<Platform>, path: web::Path<(String, String)>) -> Result<HttpResponse> {
    let (phone, name) = of(&caller, path.into_inner())?;
    let now_ms = platform.clock.now_ms();
    platform.store.write(move |conn| phone::end(conn, &phone, &name, now_ms)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Whose phone, and what it calls the activity.
fn of(caller: &UserToken, (installation_id, name): (String, String)) -> Result<(Phone, String)> {
    check::installation("installation_id", &installation_id).map_err(|_| Error::not_found("device"))?;
    let test = caller.mode == Mode::Test;
    Ok((Phone { app: caller.app_id, user: caller.user_id, installation_id, test }, name))
}

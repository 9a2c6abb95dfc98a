//! `/v1/operators/…` of an operator's own: invitation, second factor, session.

use crate::app::operator::{self, Attempt, Enrolment, Opened, Operator, OperatorToken, Role, SignedIn};
use crate::clock::Time;
use crate::config::Secret;
use crate::error::Result;
use crate::http::{Body, ClientAddress, ProblemBody, given};
use crate::id::{AppId, OperatorId};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// What to sign in with.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorSignIn)]
pub struct SignInIn {
    #[schema(max_length = 254)]
    email: String,
    #[schema(value_type = String, max_length = 256)]
    password: Secret,
    /// What the authenticator app shows; left out at the first sign-in.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, nullable = false, max_length = 64)]
    code: Option<Secret>,
    /// One of the codes that were shown at enrolment, in place of `code`; each is good once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, nullable = false, max_length = 64)]
    recovery_code: Option<Secret>,
}

/// An offered second factor and its first code.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorEnrol)]
pub struct EnrolIn {
    /// The token of the enrolment.
    #[schema(value_type = String)]
    token: Secret,
    /// What the authenticator app shows.
    #[schema(value_type = String)]
    code: Secret,
}

/// An invitation and the password to set.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorAccept)]
pub struct AcceptIn {
    /// The token of the invitation.
    #[schema(value_type = String)]
    token: Secret,
    #[schema(value_type = String, min_length = 12, max_length = 256)]
    password: Secret,
}

/// A role in one app.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OperatorPost)]
pub struct PostOut {
    app_id: AppId,
    role: Role,
}

/// The signed-in operator.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OperatorMe)]
pub struct MeOut {
    id: OperatorId,
    email: String,
    name: String,
    roles: Vec<PostOut>,
    recovery_codes_left: i64,
    /// When the session ends at the latest.
    session_expires_at: Time,
}

/// A session that was opened. Send its token as `Authorization: Bearer`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = OperatorSession)]
pub struct SessionOut {
    /// `op_…`: keep it now, it is never shown again.
    token: String,
    operator: MeOut,
    /// At enrolment: each stands in for one code. Keep them now, they are never shown again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<String>,
}

/// A second factor that is offered.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = OperatorEnrolment)]
pub struct EnrolmentOut {
    /// Send it to `/v1/operators/enrol` with the first code.
    token: String,
    /// Show it as a QR code.
    otpauth_uri: String,
    /// The same secret, to be typed.
    secret: String,
    expires_at: Time,
}

/// A session, or for who has no second factor yet the enrolment that comes first.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = OperatorSignedIn)]
pub struct SignedInOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolment: Option<EnrolmentOut>,
}

impl MeOut {
    fn new(operator: Operator, expires_ms: i64) -> Self {
        let Operator { id, email, name, roles, recovery_codes_left } = operator;
        let roles = roles.into_iter().map(|(app_id, role)| PostOut { app_id, role }).collect();
        Self { id, email, name, roles, recovery_codes_left, session_expires_at: Time(expires_ms) }
    }
}

impl SessionOut {
    fn new(opened: Opened, recovery_codes: Vec<String>) -> Self {
        let Opened { token, expires_ms, operator } = opened;
        Self { token: token.expose().to_owned(), operator: MeOut::new(operator, expires_ms), recovery_codes }
    }
}

impl From<Enrolment> for EnrolmentOut {
    fn from(offered: Enrolment) -> Self {
        let shown = |secret: &Secret| secret.expose().to_owned();
        Self {
            token: shown(&offered.token),
            otpauth_uri: shown(&offered.otpauth_uri),
            secret: shown(&offered.secret),
            expires_at: Time(offered.expires_ms),
        }
    }
}

/// Signs an operator in. Whatever is wrong, the answer is the same. After some failures the next attempt has to wait,
/// longer each time. A session ends after 12 hours, or after one without use.
///
/// # Errors
/// 400, 401 `invalid_credentials`, 429, 503.
#[utoipa::path(post, path = "/v1/operators/sign-in", tag = "operators", request_body = SignInIn,
    responses((status = 200, body = SignedInOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_in(
    platform: web::Data<Platform>,
    address: ClientAddress,
    body: Body<SignInIn>,
) -> Result<web::Json<SignedInOut>> {
    let SignInIn { email, password, code, recovery_code } = body.0;
    let done = operator::sign_in(&platform, address, Attempt { email, password, code, recovery_code }).await?;
    Ok(web::Json(match done {
        SignedIn::Session(opened) => SignedInOut { session: Some(SessionOut::new(opened, Vec::new())), enrolment: None },
        SignedIn::Enrol(offered) => SignedInOut { session: None, enrolment: Some(offered.into()) },
    }))
}

/// Confirms the offered second factor with its first code, and opens a session.
///
/// # Errors
/// 400, 401 `invalid_enrolment`.
#[utoipa::path(post, path = "/v1/operators/enrol", tag = "operators", request_body = EnrolIn,
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn enrol(platform: web::Data<Platform>, body: Body<EnrolIn>) -> Result<web::Json<SessionOut>> {
    let (opened, codes) = operator::enrol(&platform, &body.0.token, body.0.code).await?;
    Ok(web::Json(SessionOut::new(opened, codes)))
}

/// Accepts an invitation: sets the password. Sign in with it next.
///
/// # Errors
/// 400, 401 `invalid_invitation`, 503.
#[utoipa::path(post, path = "/v1/operators/accept", tag = "operators", request_body = AcceptIn,
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn accept(platform: web::Data<Platform>, body: Body<AcceptIn>) -> Result<HttpResponse> {
    operator::accept(&platform, &body.0.token, body.0.password).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends the session that asks.
///
/// # Errors
/// 401.
#[utoipa::path(post, path = "/v1/operators/sign-out", tag = "operators", security(("operator_token" = [])),
    responses((status = 204), (status = 401, body = ProblemBody)))]
pub async fn sign_out(caller: OperatorToken, platform: web::Data<Platform>) -> Result<HttpResponse> {
    operator::sign_out(&platform, &caller).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Shows who is signed in, and what they are in each app.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/operators/me", tag = "operators", security(("operator_token" = [])),
    responses((status = 200, body = MeOut), (status = 401, body = ProblemBody)))]
pub async fn me(caller: OperatorToken, platform: web::Data<Platform>) -> Result<web::Json<MeOut>> {
    let found = platform.store.read(move |conn| Operator::read(conn, caller.operator_id)).await?;
    Ok(web::Json(MeOut::new(found, caller.expires_ms)))
}

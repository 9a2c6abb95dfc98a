//! `/v1/users/{id}/sessions|factors|impersonate`: a user's sessions and factors, for the app's own back end.

use super::factors::Factors;
use super::mine::{MySession, own, sessions};
use crate::app::{BackOffice, Scope};
use crate::audit;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text};
use crate::id::{AppId, SessionId, UserId};
use crate::mail::{Factor, Template};
use crate::people::account::access::Accounts;
use crate::people::account::arrival::user_agent;
use crate::people::account::departure::{self, end_others};
use crate::people::account::impersonation::ACTING_S;
use crate::people::account::letter;
use crate::people::account::store::{self, End};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Longest reason, in characters.
const REASON_MAX: usize = 200;

/// Why somebody acts as a user.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Impersonation)]
pub struct ImpersonationIn {
    /// It stays in the audit log for ever: name the ticket, nothing personal.
    #[schema(min_length = 1, max_length = 200, example = "ticket 4711")]
    reason: String,
}

/// A token that reads as the user does.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Impersonated {
    /// For `Authorization: Bearer`. It reads, and it signs out; it changes nothing, and there is no refresh.
    access_token: String,
    /// Life of the access token, in seconds.
    expires_in: i64,
    /// The session, as the user sees it among theirs.
    session_id: SessionId,
    expires_at: Time,
}

/// The open sessions of a user, the oldest first.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/sessions", tag = "users", params(("id" = UserId, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<MySession>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn list_sessions(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    query: Query<PageQuery>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersRead)?;
    let who = user(&platform, caller.app_id, &path).await?;
    Ok(HttpResponse::Ok().json(sessions(&platform, who, query.0, None).await?))
}

/// Signs a user out everywhere: the tokens are refused from this answer on, and pushes no longer reach the devices that
/// those sessions registered.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(delete, path = "/v1/users/{id}/sessions", tag = "users", params(("id" = UserId, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn end_sessions(caller: BackOffice, accounts: web::Data<Accounts>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let who = user(accounts.platform(), caller.app_id, &path).await?;
    accounts.end_all(who, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Signs a user out of one session.
///
/// # Errors
/// 400, 401, 403, 404 when the user has no such open session.
#[utoipa::path(delete, path = "/v1/users/{id}/sessions/{session}", tag = "users", params(("id" = UserId, Path), ("session" = SessionId, Path)),
    security(("server_key" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn end_session(
    caller: BackOffice,
    accounts: web::Data<Accounts>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let (user, session) = path.into_inner();
    let who = (caller.app_id, user_id(&user)?);
    let session: SessionId = session.parse().map_err(|e: crate::id::IdError| e.at("session"))?;
    let now_ms = accounts.platform().clock.now_ms();
    let write = move |conn: &mut Conn| {
        store::hold_user(conn, who.0, who.1)?;
        own(conn, who, session)?;
        Ok(((), departure::end(conn, who, &[session], (End::Revoked, now_ms))?))
    };
    accounts.write(caller.app_id, write).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What a user has to prove who they are.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/factors", tag = "users", params(("id" = UserId, Path)), security(("server_key" = [])),
    responses((status = 200, body = Factors), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read_factors(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersRead)?;
    let (app_id, user) = user(&platform, caller.app_id, &path).await?;
    Ok(HttpResponse::Ok().json(platform.store.read(move |conn| Factors::of(conn, app_id, user)).await?))
}

/// Takes a user's authenticator app, recovery codes and passkeys away: for somebody who has lost their phone, once you
/// know that it is them. Every session ends, and the user's proven address is told.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(delete, path = "/v1/users/{id}/factors", tag = "users", params(("id" = UserId, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn drop_factors(caller: BackOffice, accounts: web::Data<Accounts>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let who = (caller.app_id, user_id(&path)?);
    let platform = accounts.platform().clone();
    let now_ms = platform.clock.now_ms();
    let write = move |conn: &mut Conn| {
        let (app_id, user) = who;
        store::hold_user(conn, app_id, user)?;
        store::user(conn, app_id, user)?.ok_or_else(none)?;
        let had = [
            (store::totp(conn, app_id, user)?.is_some(), Factor::Totp),
            (!store::passkeys(conn, app_id, user)?.is_empty(), Factor::Passkey),
        ];
        store::drop_factors(conn, app_id, user)?;
        let gone = end_others(conn, who, None, (End::CredentialChanged, now_ms))?;
        for (_, factor) in had.into_iter().filter(|(had, _)| *had) {
            letter::tell(conn, &platform, who, Template::FactorRemoved(factor))?;
        }
        Ok(((), gone))
    };
    accounts.write(caller.app_id, write).await?;
    accounts.platform().mail_hint.nudge();
    Ok(HttpResponse::NoContent().finish())
}

/// Acts as a user for ten minutes, to see what they see. The token reads and changes nothing; the user sees the session
/// among theirs; the audit log keeps who and why.
///
/// # Errors
/// 400, 401, 403, 404, 409 `user_disabled`.
#[utoipa::path(post, path = "/v1/users/{id}/impersonate", tag = "users", params(("id" = UserId, Path)), request_body = ImpersonationIn,
    security(("server_key" = [])),
    responses((status = 200, body = Impersonated), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn impersonate(
    caller: BackOffice,
    accounts: web::Data<Accounts>,
    path: web::Path<String>,
    request: HttpRequest,
    body: Body<ImpersonationIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersImpersonate)?;
    let user = user_id(&path)?;
    let reason = body.0.reason;
    check_text("reason", &reason, REASON_MAX)?;
    audit::note("reason", reason);
    let begun = accounts.impersonate(&caller, user, user_agent(request.headers())).await?;
    let out = Impersonated {
        access_token: begun.access.expose().to_owned(),
        expires_in: ACTING_S,
        session_id: begun.session.id,
        expires_at: Time(begun.session.created_ms + ACTING_S * 1_000),
    };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(out))
}

/// A user of the app, by the path.
async fn user(platform: &Platform, app_id: AppId, path: &str) -> Result<(AppId, UserId)> {
    let user = user_id(path)?;
    platform.store.read(move |conn| store::user(conn, app_id, user)).await?.ok_or_else(none)?;
    Ok((app_id, user))
}

fn user_id(path: &str) -> Result<UserId> {
    path.parse().map_err(|_| none())
}

fn none() -> Error {
    Error::not_found("user")
}

//! `/v1/me/sessions`: where a user is signed in; naming those places and signing out of one or all.

use crate::app;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, given};
use crate::id::{AppId, SessionId, UserId};
use crate::people::account::access::Accounts;
use crate::people::account::caller::UserToken;
use crate::people::account::departure;
use crate::people::account::refresh::Life;
use crate::people::account::store::{self, End, Session};
use crate::planted::{Bug, planted};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Longest name of a session, in characters.
const NAME_MAX: usize = 100;

/// A place where the user is signed in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MySession {
    id: SessionId,
    /// Whether it is the one that asks; absent when the app's back end asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<bool>,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What the client that signed in called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// How they proved who they are (words of RFC 8176).
    amr: Vec<String>,
    /// Who of the app's back office acts as the user here, for ten minutes at most: `key_…` or `opr_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_by: Option<String>,
    created_at: Time,
    /// Its last refresh, or its sign-in.
    last_used_at: Time,
}

/// What changes of a session.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionPatch {
    /// What the user calls it; null forgets the name.
    #[serde(default, deserialize_with = "given")]
    #[schema(max_length = 100)]
    name: Option<Option<String>>,
}

/// Which sessions stay.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EndQuery {
    /// Whether the session that asks goes on; it ends too when left out.
    #[serde(default)]
    keep_current: bool,
}

impl MySession {
    pub(super) fn of(session: Session, current: Option<SessionId>) -> Self {
        let Session { id, name, user_agent, amr, actor: impersonated_by, created_ms, last_used_ms, .. } = session;
        let (created_at, last_used_at) = (Time(created_ms), Time(last_used_ms));
        let current = current.map(|current| id == current);
        let amr = amr.split_ascii_whitespace().map(str::to_owned).collect();
        Self { id, current, name, user_agent, amr, impersonated_by, created_at, last_used_at }
    }
}

/// The user's open sessions, the oldest first.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/sessions", tag = "auth", params(PageQuery), security(("user_token" = [])),
    responses((status = 200, body = Page<MySession>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn list(caller: UserToken, platform: web::Data<Platform>, query: Query<PageQuery>) -> Result<HttpResponse> {
    let page = sessions(&platform, (caller.app_id, caller.user_id), query.0, Some(caller.session_id)).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// One open session of the user.
///
/// # Errors
/// 400, 401, 404.
#[utoipa::path(get, path = "/v1/me/sessions/{id}", tag = "auth", params(("id" = SessionId, Path)), security(("user_token" = [])),
    responses((status = 200, body = MySession), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn get(caller: UserToken, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    let id = session_id(&path)?;
    let session = platform.store.read(move |conn| own(conn, (caller.app_id, caller.user_id), id)).await?;
    Ok(HttpResponse::Ok().json(MySession::of(session, Some(caller.session_id))))
}

/// Names a session.
///
/// # Errors
/// 400, 401, 404.
#[utoipa::path(patch, path = "/v1/me/sessions/{id}", tag = "auth", params(("id" = SessionId, Path)), request_body = SessionPatch,
    security(("user_token" = [])),
    responses((status = 200, body = MySession), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: UserToken,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<SessionPatch>,
) -> Result<HttpResponse> {
    let id = session_id(&path)?;
    let SessionPatch { name } = body.0;
    if let Some(Some(name)) = &name {
        check_text("name", name, NAME_MAX)?;
    }
    let write = move |conn: &mut Conn| {
        let session = own(conn, (caller.app_id, caller.user_id), id)?;
        let Some(name) = name else { return Ok(session) };
        store::name_session(conn, caller.app_id, id, name.as_deref())?;
        Ok(Session { name, ..session })
    };
    let session = platform.store.write(write).await?;
    Ok(HttpResponse::Ok().json(MySession::of(session, Some(caller.session_id))))
}

/// Signs out of one session: its tokens are refused from this answer on, and pushes no longer reach the devices that it
/// registered.
///
/// # Errors
/// 400, 401, 404 when the user has no such open session.
#[utoipa::path(delete, path = "/v1/me/sessions/{id}", tag = "auth", params(("id" = SessionId, Path)), security(("user_token" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn end(caller: UserToken, accounts: web::Data<Accounts>, path: web::Path<String>) -> Result<HttpResponse> {
    let id = session_id(&path)?;
    let now_ms = accounts.platform().clock.now_ms();
    let write = move |conn: &mut Conn| {
        own(conn, (caller.app_id, caller.user_id), id)?;
        Ok(((), departure::end(conn, (caller.app_id, caller.user_id), &[id], (End::Revoked, now_ms))?))
    };
    accounts.write(caller.app_id, write).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Signs out everywhere.
///
/// # Errors
/// 400, 401.
#[utoipa::path(delete, path = "/v1/me/sessions", tag = "auth", params(EndQuery), security(("user_token" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn end_all(caller: UserToken, accounts: web::Data<Accounts>, query: Query<EndQuery>) -> Result<HttpResponse> {
    let keep = query.0.keep_current.then_some(caller.session_id);
    accounts.end_all((caller.app_id, caller.user_id), keep).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A page of the open sessions of a user.
pub(super) async fn sessions(
    platform: &Platform,
    who: (AppId, UserId),
    page: PageQuery,
    current: Option<SessionId>,
) -> Result<Page<MySession>> {
    let (rows, after) = (page.rows()?, page.after().to_owned());
    let (life_days, now_ms) = (platform.config.refresh_token_life_days, platform.clock.now_ms());
    let found = platform.store.read(move |conn| {
        let life = Life::of(life_days, &app::settings(conn, who.0)?);
        store::open_sessions(conn, who, life.since(now_ms), (&after, rows))
    });
    page.page(found.await?, |s| s.id.to_string(), |s| MySession::of(s, current))
}

fn session_id(path: &web::Path<String>) -> Result<SessionId> {
    path.parse().map_err(|e: crate::id::IdError| e.at("id"))
}

/// An open session of a user.
pub(super) fn own(conn: &mut Conn, (app_id, user): (AppId, UserId), id: SessionId) -> Result<Session> {
    let found = store::session(conn, app_id, id)?.map(|(session, _)| session);
    let is_own = |s: &Session| s.user_id == user || planted(Bug::ForgottenUser);
    found.filter(|s| is_own(s) && s.ended_ms.is_none()).ok_or_else(|| Error::not_found("session"))
}

//! `/v1/me/sessions`: where a user is signed in; naming those places and signing out of one or all.

use crate::app;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, given};
use crate::id::SessionId;
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
/// Sessions ended in one transaction.
const BATCH: i64 = 200;

/// A place where the user is signed in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MySession {
    id: SessionId,
    /// Whether it is the one that asks.
    current: bool,
    /// What the user calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// What the client that signed in called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
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
    fn of(session: Session, current: SessionId) -> Self {
        let Session { id, name, user_agent, created_ms, last_used_ms, .. } = session;
        let (created_at, last_used_at) = (Time(created_ms), Time(last_used_ms));
        Self { id, current: id == current, name, user_agent, created_at, last_used_at }
    }
}

/// The user's open sessions, the oldest first.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/sessions", tag = "auth", params(PageQuery), security(("user_token" = [])),
    responses((status = 200, body = Page<MySession>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn list(caller: UserToken, platform: web::Data<Platform>, query: Query<PageQuery>) -> Result<HttpResponse> {
    let (rows, after) = (query.0.rows()?, query.0.after().to_owned());
    let (life_days, now_ms) = (platform.config.refresh_token_life_days, platform.clock.now_ms());
    let found = platform.store.read(move |conn| {
        let life = Life::of(life_days, &app::settings(conn, caller.app_id)?);
        store::open_sessions(conn, (caller.app_id, caller.user_id), life.began_after(now_ms), (&after, rows))
    });
    let page = query.0.page(found.await?, |s| s.id.to_string(), |s| MySession::of(s, caller.session_id))?;
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
    let session = platform.store.read(move |conn| own(conn, caller, id)).await?;
    Ok(HttpResponse::Ok().json(MySession::of(session, caller.session_id)))
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
        let session = own(conn, caller, id)?;
        let Some(name) = name else { return Ok(session) };
        store::name_session(conn, caller.app_id, id, name.as_deref())?;
        Ok(Session { name, ..session })
    };
    let session = platform.store.write(write).await?;
    Ok(HttpResponse::Ok().json(MySession::of(session, caller.session_id)))
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
        own(conn, caller, id)?;
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
    let (keep, now_ms) = (query.0.keep_current, accounts.platform().clock.now_ms());
    let stays = move |id: &SessionId| keep && *id == caller.session_id;
    // In batches, so that a user with very many sessions holds nobody up.
    let mut after = String::new();
    loop {
        let from = after.clone();
        let write = move |conn: &mut Conn| {
            let all = (i64::MIN, i64::MIN);
            let open = store::open_sessions(conn, (caller.app_id, caller.user_id), all, (&from, BATCH))?;
            let ids: Vec<SessionId> = open.iter().map(|s| s.id).filter(|id| !stays(id)).collect();
            let gone = departure::end(conn, (caller.app_id, caller.user_id), &ids, (End::Revoked, now_ms))?;
            Ok((ids, gone))
        };
        match accounts.write(caller.app_id, write).await?.last() {
            Some(last) => after = last.to_string(),
            None => return Ok(HttpResponse::NoContent().finish()),
        }
    }
}

fn session_id(path: &web::Path<String>) -> Result<SessionId> {
    path.parse().map_err(|e: crate::id::IdError| e.at("id"))
}

/// An open session of the caller.
fn own(conn: &mut Conn, caller: UserToken, id: SessionId) -> Result<Session> {
    let found = store::session(conn, caller.app_id, id)?.map(|(session, _)| session);
    let is_own = |s: &Session| s.user_id == caller.user_id || planted(Bug::ForgottenUser);
    found.filter(|s| is_own(s) && s.ended_ms.is_none()).ok_or_else(|| Error::not_found("session"))
}

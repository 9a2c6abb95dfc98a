//! Whose session a token is. It is asked of the database each time: operators are few, and an end must be one at once.

use super::store::{self, Post, SessionRow};
use crate::app::Role;
use crate::app::caller::bearer;
use crate::app::key::hash;
use crate::app::keys::missing;
use crate::app::quota::count;
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::error::{Error, Problem, Result};
use crate::http::CallerApp;
use crate::id::{AppId, OperatorId};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

/// A session without use for so long is over, in milliseconds.
const IDLE_MS: i64 = HOUR_MS;
/// How a session's token begins.
const LETTERS: &str = "op_";
/// The header that says in which app an operator acts.
const APP_HEADER: &str = "X-Kairos-App";

/// What is known of an operator.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Their id.
    pub id: OperatorId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// What they are, by app; roles that are suspended are not among them.
    pub roles: Vec<(AppId, Role)>,
    /// How many recovery codes are unused.
    pub recovery_codes_left: i64,
}

impl Operator {
    /// Reads one.
    ///
    /// # Errors
    /// 404; what the database says.
    pub fn read(conn: &mut Conn, id: OperatorId) -> Result<Self> {
        let row = store::operator(conn, id)?;
        let posts = store::posts(conn, id)?.into_iter().filter(|post| !post.disabled);
        let roles = posts.map(|post| (post.app_id, post.role)).collect();
        Ok(Self { id, email: row.email, name: row.name, roles, recovery_codes_left: store::recovery_codes_left(conn, id)? })
    }
}

/// A signed-in operator, whatever the app: `Authorization: Bearer op_…`.
#[derive(Debug, Clone)]
pub struct OperatorToken {
    /// Who it is.
    pub operator_id: OperatorId,
    /// When the session ends at the latest, in UTC milliseconds.
    pub expires_ms: i64,
    pub(super) token_hash: String,
}

/// Whether a bearer's text could be an operator's token.
pub(in crate::app) fn is_operator_token(text: Option<&String>) -> bool {
    text.is_some_and(|text| text.starts_with(LETTERS))
}

impl FromRequest for OperatorToken {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { signed_in(&request, None).await.map(|(token, _)| token) })
    }
}

/// Who acts in the app that the header names, and what they are in it.
///
/// # Errors
/// 401; 400 that names the header; 403 `no_role`; 429.
pub(in crate::app) async fn begin_as_operator(request: &HttpRequest) -> Result<(OperatorToken, AppId, Role)> {
    let named = request.headers().get(APP_HEADER).and_then(|value| value.to_str().ok()).map(str::trim);
    let app = named.map(str::parse::<AppId>);
    let (token, post) = signed_in(request, app.and_then(Result::ok)).await?;
    let app = match app {
        Some(Ok(app)) => app,
        Some(Err(_)) => return Err(Error::invalid(APP_HEADER, "invalid", "expected the id of an app, app_…")),
        None => return Err(Error::invalid(APP_HEADER, "required", "an operator says in which app to act")),
    };
    // The same words for an app that does not exist.
    let stranger = || Problem::new(403, "no_role", "You have no role in this app.");
    let post = post.filter(|post| !post.disabled).ok_or_else(stranger)?;
    request.extensions_mut().insert(CallerApp(app));
    Ok((token, app, post.role))
}

/// Whose session the request is in, and what they are in the app.
async fn signed_in(request: &HttpRequest, app: Option<AppId>) -> Result<(OperatorToken, Option<Post>)> {
    let platform = request.app_data::<web::Data<Platform>>().ok_or_else(|| Error::broken("the server has no platform"))?;
    let text = bearer(request.headers()).filter(|text| is_operator_token(Some(text))).ok_or_else(missing)?;
    let (token_hash, now_ms) = (hash(&text), platform.clock.now_ms());
    let found = platform.store.read(move |conn| {
        let Some(session) = store::session(conn, &token_hash)? else { return Ok(None) };
        let is_active = store::operator(conn, session.operator_id)?.disabled_ms.is_none();
        let post = app.map(|app| store::post(conn, app, session.operator_id)).transpose()?.flatten();
        Ok(Some((session, post)).filter(|_| is_active))
    });
    let (session, post) = found.await?.filter(|(session, _)| is_open(session, now_ms)).ok_or_else(missing)?;
    let SessionRow { token_hash, operator_id, last_used_ms, expires_ms, created_ms: _ } = session;
    if now_ms - last_used_ms >= MINUTE_MS {
        let used = token_hash.clone();
        platform.store.write(move |conn| store::touch_session(conn, &used, now_ms)).await?;
    }
    count(request, operator_id.uuid()).await?;
    Ok((OperatorToken { operator_id, expires_ms, token_hash }, post))
}

fn is_open(session: &SessionRow, now_ms: i64) -> bool {
    now_ms < session.expires_ms && now_ms - session.last_used_ms < IDLE_MS
}

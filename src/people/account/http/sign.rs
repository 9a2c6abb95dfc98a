//! Ways into a session: sign-up, sign-in, anonymous.

use super::{AnonymousIn, CredentialsIn, SessionOut, answer};
use crate::app::{PublishableKey, bearer};
use crate::error::{Error, Problem, Result};
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::AppId;
use crate::people::account::access::{Accounts, SESSIONS_TOPIC};
use crate::people::account::caller::UserToken;
use crate::people::account::limit::{Attempt, by_address};
use crate::people::account::password::{check_email, check_password, check_presented};
use crate::people::account::store::{self, Credential, End, Session, User};
use crate::people::device;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::{HeaderMap, USER_AGENT};
use actix_web::{HttpRequest, HttpResponse, web};

/// How much is kept of a client's name of itself, in characters.
const USER_AGENT_MAX: usize = 200;

/// Signs up with e-mail and password. A pair that exists already is signed in; the answer has the same shape.
/// With the access token of an anonymous user, that user gets the account and keeps everything.
///
/// # Errors
/// 400, 401, 409, 429, 503.
#[utoipa::path(post, path = "/v1/auth/sign-up", tag = "auth", request_body = CredentialsIn, security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_up(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CredentialsIn>,
) -> Result<HttpResponse> {
    check_password(body.0.password.expose())?;
    let platform = accounts.platform();
    let upgrade = anonymous_caller(&accounts, caller.app_id, request.headers()).await?;
    let (credential, attempt) = attempt(&accounts, (caller.app_id, address), body.0).await?;
    let mut session = new_session(platform, &caller, request.headers());
    let write = move |conn: &mut Conn| {
        let (user, opened) = match store::account(conn, &credential)? {
            Some(user) => (user, false),
            None => open_account(conn, &credential, &session, upgrade)?,
        };
        session.user_id = user.id;
        store::insert_session(conn, &session)?;
        Ok((user, session, opened))
    };
    let cache = platform.cache.clone();
    let then = move |(_, _, opened): &(User, Session, bool)| {
        if let Some(token) = upgrade.filter(|_| *opened) {
            cache.publish(SESSIONS_TOPIC, &token.session_id.to_string());
        }
    };
    let store = platform.store.clone();
    // A caller who hangs up does not get around the count.
    let counted = tokio::spawn(async move {
        let done = store.write_then(write, then).await?;
        if done.2 {
            // A pair that is new may be a wrong guess of one that exists. For whom it is none, it costs one of many.
            attempt.failed().await;
        }
        Ok::<_, Error>(done)
    });
    let (user, session, _) = counted.await.map_err(Error::broken)??;
    answer(&accounts, user, (&session, 0))
}

/// Makes the account of a new pair of e-mail and password, for a new user or for the anonymous one that asks: then the
/// new session takes the place of theirs, on its devices too. Answers false beside a user who had it already.
fn open_account(conn: &mut Conn, credential: &Credential, session: &Session, upgrade: Option<UserToken>) -> Result<(User, bool)> {
    let &Session { app_id, created_ms: now_ms, .. } = session;
    if let Some(token) = upgrade {
        // One session is replaced once, whatever is asked at once.
        store::keep_open(conn, app_id, token.session_id)?;
    }
    let user_id = upgrade.map_or(session.user_id, |token| token.user_id);
    if !store::claim(conn, credential, user_id, now_ms)? {
        // The same pair signed up a moment ago.
        return Ok((store::account(conn, credential)?.ok_or_else(rejected)?, false));
    }
    let Some(token) = upgrade else { return Ok((store::insert_user(conn, app_id, (user_id, false), now_ms)?, true)) };
    store::upgrade_user(conn, app_id, user_id, now_ms)?;
    store::end_session(conn, app_id, token.session_id, (End::Upgraded, now_ms))?;
    device::rebind(conn, app_id, user_id, (token.session_id, session.id))?;
    Ok((store::user(conn, app_id, user_id)?.ok_or_else(rejected)?, true))
}

/// Signs in with e-mail and password.
///
/// # Errors
/// 400, 401 `invalid_credentials`, 429, 503.
#[utoipa::path(post, path = "/v1/auth/sign-in", tag = "auth", request_body = CredentialsIn, security(("publishable_key" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_in(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CredentialsIn>,
) -> Result<HttpResponse> {
    let platform = accounts.platform();
    let (credential, attempt) = attempt(&accounts, (caller.app_id, address), body.0).await?;
    let mut session = new_session(platform, &caller, request.headers());
    let result = platform.store.write(move |conn| {
        let Some(user) = store::account(conn, &credential)? else { return Ok(None) };
        session.user_id = user.id;
        store::insert_session(conn, &session)?;
        Ok(Some((user, session)))
    });
    match result.await? {
        Some((user, session)) => answer(&accounts, user, (&session, 0)),
        None => {
            attempt.failed().await;
            Err(rejected())
        }
    }
}

/// Makes an anonymous user, who can get an account later.
///
/// # Errors
/// 400, 401, 429.
#[utoipa::path(post, path = "/v1/auth/anonymous", tag = "auth", request_body = AnonymousIn, security(("publishable_key" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn anonymous(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<AnonymousIn>,
) -> Result<HttpResponse> {
    let AnonymousIn {} = body.0;
    let platform = accounts.platform();
    by_address(platform, address).await?;
    let session = new_session(platform, &caller, request.headers());
    let result = platform.store.write(move |conn| {
        let user = store::insert_user(conn, session.app_id, (session.user_id, true), session.created_ms)?;
        store::insert_session(conn, &session)?;
        Ok((user, session))
    });
    let (user, session) = result.await?;
    answer(&accounts, user, (&session, 0))
}

/// Counts the attempt and hashes the password, once, whoever it is.
async fn attempt(
    accounts: &Accounts,
    (app_id, address): (AppId, ClientAddress),
    body: CredentialsIn,
) -> Result<(Credential, Attempt)> {
    let email = check_email(&body.email)?;
    check_presented(body.password.expose())?;
    let attempt = Attempt::begin(accounts.platform(), app_id, &email, address).await?;
    let password_hash = accounts.hasher().hash(body.password, accounts.salt(app_id, &email)).await?;
    Ok((Credential { app_id, email, password_hash }, attempt))
}

/// The anonymous user who asks for an account, if there is an access token.
async fn anonymous_caller(accounts: &Accounts, app_id: AppId, headers: &HeaderMap) -> Result<Option<UserToken>> {
    let Some(token) = bearer(headers) else { return Ok(None) };
    let token = accounts.verify(&token).await?;
    if token.app_id != app_id {
        return Err(Error::unauthorized("The access token is of another app than the key."));
    }
    let user = accounts.platform().store.read(move |conn| store::user(conn, app_id, token.user_id)).await?;
    if user.is_some_and(|user| user.anonymous) {
        return Ok(Some(token));
    }
    Err(Error::conflict("not_anonymous", "This user has an account already; sign out first."))
}

fn new_session(platform: &Platform, caller: &PublishableKey, headers: &HeaderMap) -> Session {
    let now_ms = platform.clock.now_ms();
    Session {
        app_id: caller.app_id,
        id: platform.ids.next(),
        user_id: platform.ids.next(),
        mode: caller.mode.name().to_owned(),
        generation: 0,
        generation_ms: now_ms,
        name: None,
        user_agent: user_agent(headers),
        created_ms: now_ms,
        last_used_ms: now_ms,
        ended_ms: None,
        end_reason: None,
    }
}

/// What the client calls itself, as far as it is plain text; the rest of a long name says little.
fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(USER_AGENT_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// One answer for an unknown e-mail, a wrong password and a disabled user.
fn rejected() -> Error {
    Problem::new(401, "invalid_credentials", "E-mail and password do not belong together.").into()
}

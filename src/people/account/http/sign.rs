//! Ways into a session: sign-up, sign-in, anonymous.

use super::{AnonymousIn, AskedOut, CredentialsIn, SessionOut, rejected, welcome};
use crate::app::{Mode, PublishableKey, bearer};
use crate::error::{Error, Result};
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::AppId;
use crate::people::account::access::Accounts;
use crate::people::account::arrival::{Arrival, Entered};
use crate::people::account::caller::UserToken;
use crate::people::account::challenge::Kind;
use crate::people::account::departure::Gone;
use crate::people::account::foreign::Said;
use crate::people::account::impersonation;
use crate::people::account::letter::{self, Letter};
use crate::people::account::limit::{Attempt, by_address};
use crate::people::account::methods::{Method, Methods};
use crate::people::account::password::{check_email, check_new, check_presented};
use crate::people::account::store;
use crate::store::Conn;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

/// Signs up with e-mail and password. A pair that exists already is signed in; the answer has the same shape.
/// With the access token of an anonymous user, that user gets the account and keeps everything.
///
/// # Errors
/// 400, 401, 409, 429, 503.
#[utoipa::path(post, path = "/v1/auth/sign-up", tag = "auth", request_body = CredentialsIn, security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 202, body = AskedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_up(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CredentialsIn>,
) -> Result<HttpResponse> {
    let password = ("password", &body.0.password);
    check_new(accounts.platform(), caller.app_id, password, &check_email(&body.0.email)?).await?;
    let anonymous = anonymous_caller(&accounts, (caller.app_id, caller.mode), request.headers(), Other::Refused).await?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), anonymous)
        .by(&Methods::one(Method::Password));
    let (said, attempt) = attempt(&accounts, (caller.app_id, address), body.0).await?;
    let letter = letter::seal(
        accounts.platform(),
        Letter {
            app_id: caller.app_id,
            mode: caller.mode,
            kind: Kind::VerifyEmail,
            user_id: Some(arrival.user_id()),
            email: said.credential.email.clone(),
            state: Value::Null,
            locale: letter::language(request.headers()),
        },
    );
    let platform = accounts.platform().clone();
    let write = move |conn: &mut Conn| {
        store::hold_email(conn, said.credential.app_id, &said.credential.email)?;
        let now_ms = arrival.now_ms();
        if let Some(user) = said.account(conn, now_ms)? {
            return arrival.known(conn, user).map(|entered| (entered, false));
        }
        arrival.hold(conn)?;
        if store::claim(conn, &said.credential, arrival.user_id(), now_ms)? {
            letter.claimed(conn, &platform)?;
            return arrival.new_user(conn, false).map(|entered| (entered, true));
        }
        // The same pair belongs to a user who is disabled.
        let user = said.account(conn, now_ms)?.ok_or_else(rejected)?;
        arrival.known(conn, user).map(|entered| (entered, false))
    };
    let server = accounts.clone();
    // A caller who hangs up does not get around the count.
    let counted = tokio::spawn(async move {
        let (entered, opened) = match enter(&server, caller.app_id, write).await {
            Err(error @ Error::Refused(_)) => {
                attempt.failed().await;
                return Err(error);
            }
            done => done?,
        };
        server.platform().mail_hint.nudge();
        if opened {
            // A pair that is new may be a wrong guess of one that exists. For whom it is none, it costs one of many.
            attempt.failed().await;
        }
        Ok::<_, Error>(entered)
    });
    welcome(&accounts, counted.await.map_err(Error::broken)??)
}

/// Writes what lets somebody in, and tells all nodes which session theirs has replaced.
async fn enter<T: Send + 'static>(
    accounts: &Accounts,
    app_id: AppId,
    write: impl FnOnce(&mut Conn) -> Result<(Entered, T)> + Send + 'static,
) -> Result<(Entered, T)> {
    let write = move |conn: &mut Conn| {
        let (mut entered, more) = write(conn)?;
        let gone = std::mem::take(&mut entered.gone);
        Ok(((entered, more), gone))
    };
    accounts.write(app_id, write).await
}

/// Signs in with e-mail and password. With the access token of an anonymous user, what they did before is merged into
/// the account, and their session ends.
///
/// # Errors
/// 400, 401 `invalid_credentials`, 429, 503.
#[utoipa::path(post, path = "/v1/auth/sign-in", tag = "auth", request_body = CredentialsIn, security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 202, body = AskedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_in(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CredentialsIn>,
) -> Result<HttpResponse> {
    let anonymous = anonymous_caller(&accounts, (caller.app_id, caller.mode), request.headers(), Other::Left).await?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), anonymous)
        .by(&Methods::one(Method::Password));
    let (said, attempt) = attempt(&accounts, (caller.app_id, address), body.0).await?;
    let write = move |conn: &mut Conn| {
        let Some(user) = said.account(conn, arrival.now_ms())? else { return Ok((None, Gone::default())) };
        let mut entered = arrival.known(conn, user)?;
        let gone = std::mem::take(&mut entered.gone);
        Ok((Some(entered), gone))
    };
    match accounts.write(caller.app_id, write).await? {
        Some(entered) => welcome(&accounts, entered),
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
    by_address(accounts.platform(), address).await?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), None);
    let write = move |conn: &mut Conn| arrival.new_user(conn, true).map(|entered| (entered, Gone::default()));
    welcome(&accounts, accounts.write(caller.app_id, write).await?)
}

/// Counts the attempt and hashes the password, once, whoever it is.
async fn attempt(accounts: &Accounts, (app_id, address): (AppId, ClientAddress), body: CredentialsIn) -> Result<(Said, Attempt)> {
    let email = check_email(&body.email)?;
    check_presented("password", body.password.expose())?;
    let attempt = Attempt::begin(accounts.platform(), app_id, &email, address).await?;
    Ok((Said::hear(accounts, (app_id, email), body.password).await?, attempt))
}

/// What is done with the access token of a user who has an account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::people::account) enum Other {
    /// They are to sign out first.
    Refused,
    /// It is left alone: another sign-in takes nothing from it.
    Left,
}

/// The anonymous user who asks for an account or has one, if there is an access token.
pub(in crate::people::account) async fn anonymous_caller(
    accounts: &Accounts,
    (app_id, mode): (AppId, Mode),
    headers: &HeaderMap,
    other: Other,
) -> Result<Option<UserToken>> {
    let Some(token) = bearer(headers) else { return Ok(None) };
    let token = accounts.verify(&token).await?;
    if token.acting {
        return Err(impersonation::refused());
    }
    if (token.app_id, token.mode) != (app_id, mode) {
        return Err(Error::unauthorized("The access token is of another app than the key, or of the other mode."));
    }
    let user = accounts.platform().store.read(move |conn| store::user(conn, app_id, token.user_id)).await?;
    match (user.is_some_and(|user| user.anonymous), other) {
        (true, _) => Ok(Some(token)),
        (false, Other::Left) => Ok(None),
        (false, Other::Refused) => Err(Error::conflict("not_anonymous", "This user has an account already; sign out first.")),
    }
}

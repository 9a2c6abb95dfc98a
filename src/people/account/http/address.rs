//! `/v1/auth/email/*`: showing that an address is one's own, and having another one.

use super::presented::Presented;
use super::reset::failed;
use super::{Asked, SessionOut, invalid_secret, welcome};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::{AppId, UserId};
use crate::mail::Template;
use crate::people::account::access::Accounts;
use crate::people::account::arrival::{Arrival, Entered};
use crate::people::account::caller::UserToken;
use crate::people::account::challenge::{Challenge, Kind};
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::factor;
use crate::people::account::letter::{self, Letter};
use crate::people::account::limit::Attempt;
use crate::people::account::methods::Method;
use crate::people::account::password::{check_email, check_new};
use crate::people::account::proof::{Prover, prove};
use crate::people::account::store::{self, Credential, End};
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// What was mailed.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmailProof)]
pub struct ProofIn {
    /// `ct_…`, from the link.
    #[schema(value_type = Option<String>, max_length = 100)]
    token: Option<Secret>,
    /// Six digits; wants the access token of the user who asked for them.
    #[schema(value_type = Option<String>, max_length = 20)]
    code: Option<Secret>,
    /// Without that user's access token: the password from now on, because the old one may be somebody else's.
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 256)]
    new_password: Option<Secret>,
}

/// An address to have.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmailChange)]
pub struct ChangeIn {
    #[schema(example = "ada@example.org", max_length = 254)]
    email: String,
    /// The present password, of a user who has one.
    #[schema(value_type = Option<String>, format = Password, max_length = 256)]
    password: Option<Secret>,
}

/// Six digits or a link's token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmailChangeProof)]
pub struct ConfirmIn {
    /// `ct_…`, from the link.
    #[schema(value_type = Option<String>, max_length = 100)]
    token: Option<Secret>,
    /// Six digits.
    #[schema(value_type = Option<String>, max_length = 20)]
    code: Option<Secret>,
}

/// Mails a code and a link once more, with which the user shows that their address is their own.
///
/// # Errors
/// 400, 401, 409 `no_email` or `already_verified`, 429.
#[utoipa::path(post, path = "/v1/auth/email/verify/request", tag = "auth", security(("user_token" = [])),
    responses((status = 202, body = Asked), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn request(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let (email, proven) = super::step_up::own_email(&accounts, caller).await?;
    if proven {
        return Err(Error::conflict("already_verified", "This user has shown already that the address is their own."));
    }
    super::step_up::count(&accounts, caller.app_id, (&email, address)).await?;
    let platform = accounts.platform().clone();
    let sealed = letter::seal(&platform, letter(&caller, (Kind::VerifyEmail, &email), (Value::Null, &request)));
    let (asked, outbox) = (Asked::of(&sealed), platform.clone());
    platform.store.write(move |conn| sealed.claimed(conn, &outbox)).await?;
    platform.mail_hint.nudge();
    Ok(HttpResponse::Accepted().json(asked))
}

/// Shows that the user reads the mail of their address. With that user's access token their password and this session
/// stay, under the tokens of the answer; without it, whoever reads the mail sets a new password, and everything that
/// led into the account before ends.
///
/// # Errors
/// 400, 401 `invalid_secret`, 409 `email_taken`, 429.
#[utoipa::path(post, path = "/v1/auth/email/verify", tag = "auth", request_body = ProofIn, security((), ("user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn verify(
    caller: Option<UserToken>,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<ProofIn>,
) -> Result<HttpResponse> {
    let ProofIn { token, code, new_password } = body.0;
    let presented = of_caller(&accounts, (caller, Kind::VerifyEmail), (token, code)).await?;
    let app_id = caller.map(|caller| caller.app_id);
    let attempt = presented.attempt(&accounts, (app_id, Kind::VerifyEmail), address).await?;
    let found = presented.about(&accounts, (app_id, Kind::VerifyEmail)).await?;
    let Some((app_id, email, Some(user))) = found else { return Err(failed(attempt).await) };
    let here = caller.filter(|caller| caller.user_id == user);
    let password = match (new_password, here) {
        (Some(_), Some(_)) => return Err(Error::invalid("new_password", "invalid", "your password stays: leave this out")),
        (None, None) => return Err(Error::invalid("new_password", "required", "say the password that the account is to have")),
        (None, Some(_)) => None,
        (Some(password), None) => {
            check_new(accounts.platform(), app_id, ("new_password", &password), &email).await?;
            Some(accounts.hasher().hash(Some(app_id), password, accounts.salt(app_id, &email)).await?)
        }
    };
    let arrival = here.map(|here| Arrival::new(accounts.platform(), (here.app_id, here.mode), request.headers(), None));
    let now_ms = accounts.platform().clock.now_ms();
    let write = move |conn: &mut Conn| {
        store::hold_email(conn, app_id, &email)?;
        store::hold_user(conn, app_id, user)?;
        let claim = store::email_of(conn, app_id, user)?;
        if presented.redeem(conn, (Some(app_id), Kind::VerifyEmail), now_ms)?.is_none()
            || claim.is_none_or(|(claim, _)| claim != email)
        {
            return Ok((None, Gone::default()));
        }
        let prover = Prover { user: Some(user), session: here.map(|here| here.session_id) };
        let proven = prove(conn, (app_id, &email), prover, now_ms)?;
        if proven.user != Some(user) {
            return Err(taken());
        }
        let mut gone = proven.gone;
        if let Some(password_hash) = password {
            store::set_password(conn, &Credential { app_id, email, password_hash }, (user, true), now_ms)?;
            gone.join(end_others(conn, (app_id, user), None, (End::AddressProven, now_ms))?);
        }
        let entered = arrival.zip(here).map(|(arrival, here)| arrival.again(conn, here, (Method::Mail, End::AddressProven)));
        Ok((Some(entered.transpose()?.map(|entered| leave(entered, &mut gone))), gone))
    };
    answer(&accounts, accounts.write(app_id, write).await?, attempt).await
}

/// Mails a code and a link to an address that the user wants to have in place of theirs.
///
/// # Errors
/// 400, 401 `invalid_credentials` or `insufficient_user_authentication`, 429.
#[utoipa::path(post, path = "/v1/auth/email/change", tag = "auth", request_body = ChangeIn, security(("user_token" = [])),
    responses((status = 202, body = Asked), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn change(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<ChangeIn>,
) -> Result<HttpResponse> {
    let ChangeIn { email, password } = body.0;
    let email = check_email(&email)?;
    let platform = accounts.platform().clone();
    let now_ms = platform.clock.now_ms();
    let who = (caller.app_id, caller.user_id);
    let read = move |conn: &mut Conn| {
        let asked = !factor::asked(conn, who.0, who.1)?.is_empty();
        Ok((store::has_password(conn, who.0, who.1)?, store::email_of(conn, who.0, who.1)?, asked))
    };
    let (has, present, asked) = platform.store.read(read).await?;
    if asked {
        // The password alone is half of who they are.
        caller.need_fresh(now_ms)?;
    }
    if present.as_ref().is_some_and(|(present, _)| *present == email) {
        return Err(Error::invalid("email", "unchanged", "this is the user's address already"));
    }
    let state = match (password, present.filter(|_| has)) {
        (Some(password), Some((present, _))) => {
            super::step_up::check_own(&accounts, caller, (&present, address), password.clone()).await?;
            json!({ "password_hash": accounts.hasher().hash(Some(caller.app_id), password, accounts.salt(caller.app_id, &email)).await? })
        }
        (None, Some(_)) => return Err(Error::invalid("password", "required", "say your password too")),
        (_, None) => {
            caller.need_fresh(now_ms)?;
            super::step_up::count(&accounts, caller.app_id, (&email, address)).await?;
            Value::Null
        }
    };
    let sealed = letter::seal(&platform, letter(&caller, (Kind::ChangeEmail, &email), (state, &request)));
    let (asked, outbox) = (Asked::of(&sealed), platform.clone());
    platform.store.write(move |conn| sealed.claimed(conn, &outbox)).await?;
    platform.mail_hint.nudge();
    Ok(HttpResponse::Accepted().json(asked))
}

/// Takes the address that the mailed secret was sent to, in the session of the user who asked for it. Every other session
/// ends, the old address is told, and this session goes on under the tokens of the answer.
///
/// # Errors
/// 400, 401 `invalid_secret`, 409 `email_taken`, 429.
#[utoipa::path(post, path = "/v1/auth/email/change/confirm", tag = "auth", request_body = ConfirmIn, security(("user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn confirm(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<ConfirmIn>,
) -> Result<HttpResponse> {
    let presented = of_caller(&accounts, (Some(caller), Kind::ChangeEmail), (body.0.token, body.0.code)).await?;
    let attempt = presented.attempt(&accounts, (Some(caller.app_id), Kind::ChangeEmail), address).await?;
    let found = presented.about(&accounts, (Some(caller.app_id), Kind::ChangeEmail)).await?;
    let found = found.filter(|(_, _, user)| *user == Some(caller.user_id));
    let Some((_, wanted, _)) = found else { return Err(failed(attempt).await) };
    let platform = accounts.platform().clone();
    let arrival = Arrival::new(&platform, (caller.app_id, caller.mode), request.headers(), None);
    let now_ms = arrival.now_ms();
    let write = move |conn: &mut Conn| {
        let (app_id, user) = (caller.app_id, caller.user_id);
        store::hold_email(conn, app_id, &wanted)?;
        store::hold_user(conn, app_id, user)?;
        store::keep_open(conn, app_id, caller.session_id)?;
        let found = presented.redeem(conn, (Some(app_id), Kind::ChangeEmail), now_ms)?;
        let Some(Challenge { email: Some(email), state, .. }) = found else { return Ok((None, Gone::default())) };
        let old = store::email_of(conn, app_id, user)?;
        if !store::own_email(conn, app_id, (user, &email), now_ms)? {
            return Err(taken());
        }
        match state["password_hash"].as_str() {
            Some(hash) => {
                let credential = Credential { app_id, email, password_hash: hash.to_owned() };
                store::set_password(conn, &credential, (user, true), now_ms)?;
            }
            None => store::drop_password(conn, app_id, user)?,
        }
        if let Some((old, Some(_))) = old {
            let new_email = store::email_of(conn, app_id, user)?.map(|(email, _)| email).unwrap_or_default();
            letter::notify(conn, &platform, (app_id, user), (&old, Template::EmailChanged { new_email }))?;
        }
        let mut gone = end_others(conn, (app_id, user), Some(caller.session_id), (End::CredentialChanged, now_ms))?;
        let entered = arrival.again(conn, caller, (Method::Mail, End::CredentialChanged))?;
        let entered = leave(entered, &mut gone);
        Ok((Some(Some(entered)), gone))
    };
    let done = accounts.write(caller.app_id, write).await?;
    accounts.platform().mail_hint.nudge();
    answer(&accounts, done, attempt).await
}

fn letter(caller: &UserToken, (kind, email): (Kind, &str), (state, request): (Value, &HttpRequest)) -> Letter {
    Letter {
        app_id: caller.app_id,
        mode: caller.mode,
        kind,
        user_id: Some(caller.user_id),
        email: email.to_owned(),
        state,
        locale: letter::language(request.headers()),
    }
}

/// A token, or a code of the newest letter of this kind that the caller has asked for.
async fn of_caller(
    accounts: &Accounts,
    (caller, kind): (Option<UserToken>, Kind),
    (token, code): (Option<Secret>, Option<Secret>),
) -> Result<Presented> {
    let id = match (&code, caller) {
        (None, _) => None,
        (Some(_), None) => {
            return Err(Error::unauthorized(
                "A code wants the access token of the user who asked for it; a link's token does not.",
            ));
        }
        (Some(_), Some(caller)) => {
            let who: (AppId, UserId) = (caller.app_id, caller.user_id);
            let newest = accounts.platform().store.read(move |conn| store::newest(conn, who, kind)).await?;
            Some(newest.ok_or_else(invalid_secret)?)
        }
    };
    Presented::read(accounts, (token, id, code))
}

/// Takes what ended along with a session.
fn leave(mut entered: Entered, gone: &mut Gone) -> Entered {
    gone.join(std::mem::take(&mut entered.gone));
    entered
}

async fn answer(accounts: &Accounts, done: Option<Option<Entered>>, attempt: Option<Attempt>) -> Result<HttpResponse> {
    match done {
        Some(Some(entered)) => welcome(accounts, entered),
        Some(None) => Ok(HttpResponse::NoContent().finish()),
        None => Err(failed(attempt).await),
    }
}

fn taken() -> Error {
    Error::conflict("email_taken", "This address is another account's: sign in to that one.")
}

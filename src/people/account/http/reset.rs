//! `/v1/auth/password/forgot` and `reset`: a new password for whoever reads the mail of an address.

use super::code::AddressIn;
use super::presented::Presented;
use super::{Asked, invalid_secret};
use crate::app::PublishableKey;
use crate::config::Secret;
use crate::error::Result;
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::ChallengeId;
use crate::mail::Template;
use crate::people::account::access::Accounts;
use crate::people::account::challenge::Kind;
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::letter::{self, Letter};
use crate::people::account::limit::Attempt;
use crate::people::account::password::{check_email, check_new};
use crate::people::account::proof::{Prover, prove};
use crate::people::account::store::{self, Credential, End};
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::Value;

/// A secret from the mail and a new password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordReset)]
pub struct ResetIn {
    /// `ct_…`, from the link.
    #[schema(value_type = Option<String>, max_length = 100)]
    token: Option<Secret>,
    /// Goes with `code`; both want the publishable key.
    challenge_id: Option<ChallengeId>,
    /// Six digits.
    #[schema(value_type = Option<String>, max_length = 20)]
    code: Option<Secret>,
    /// 8 to 256 characters of any kind.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    new_password: Secret,
}

/// Mails a link and a code with which to set a new password, to an address that has an account. The answer is the same
/// for one that has none.
///
/// # Errors
/// 400, 401, 429.
#[utoipa::path(post, path = "/v1/auth/password/forgot", tag = "auth", request_body = AddressIn, security(("publishable_key" = [])),
    responses((status = 202, body = Asked), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn forgot(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<AddressIn>,
) -> Result<HttpResponse> {
    let email = check_email(&body.0.email)?;
    let platform = accounts.platform().clone();
    Attempt::begin(&platform, caller.app_id, &email, address).await?;
    let letter = Letter {
        app_id: caller.app_id,
        mode: caller.mode,
        kind: Kind::ResetPassword,
        user_id: None,
        email: email.clone(),
        state: Value::Null,
        locale: letter::language(request.headers()),
    };
    let sealed = letter::seal(&platform, letter);
    let (asked, outbox) = (Asked::of(&sealed), platform.clone());
    let write = move |conn: &mut Conn| {
        let reader = match store::owner(conn, caller.app_id, &email)? {
            Some(owner) => Some(owner),
            None => store::oldest_claim(conn, caller.app_id, &email)?,
        };
        sealed.send(conn, &outbox, reader.map(Some))
    };
    platform.store.write(write).await?;
    platform.mail_hint.nudge();
    Ok(HttpResponse::Accepted().json(asked))
}

/// Sets a new password by the mailed secret. Every session ends. Whoever proves an address for the first time by it
/// takes over what was claimed under it, and every other way in ends too.
///
/// # Errors
/// 400, 401 `invalid_secret`, 429.
#[utoipa::path(post, path = "/v1/auth/password/reset", tag = "auth", request_body = ResetIn, security((), ("publishable_key" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn reset(
    caller: Option<PublishableKey>,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    body: Body<ResetIn>,
) -> Result<HttpResponse> {
    let ResetIn { token, challenge_id, code, new_password } = body.0;
    let presented = Presented::read(&accounts, (token, challenge_id, code))?;
    let app_id = caller.map(|caller| caller.app_id);
    let attempt = presented.attempt(&accounts, (app_id, Kind::ResetPassword), address).await?;
    let platform = accounts.platform().clone();
    let now_ms = platform.clock.now_ms();
    // What the secret is for is looked up first, because the password is hashed for its address; it is used up below.
    let Some((app_id, email, _)) = presented.about(&accounts, (app_id, Kind::ResetPassword)).await? else {
        return Err(failed(attempt).await);
    };
    check_new(&platform, app_id, ("new_password", &new_password), &email).await?;
    let password_hash = accounts.hasher().hash(Some(app_id), new_password, accounts.salt(app_id, &email)).await?;
    let credential = Credential { app_id, email, password_hash };
    let write = move |conn: &mut Conn| {
        let Some(_) = presented.redeem(conn, (Some(app_id), Kind::ResetPassword), now_ms)? else {
            return Ok((false, Gone::default()));
        };
        let proven = prove(conn, (app_id, &credential.email), Prover::default(), now_ms)?;
        let Some(user) = proven.user else { return Ok((false, proven.gone)) };
        store::set_password(conn, &credential, (user, true), now_ms)?;
        let mut gone = proven.gone;
        gone.join(end_others(conn, (app_id, user), None, (End::CredentialChanged, now_ms))?);
        letter::notify(conn, &platform, (app_id, user), (&credential.email, Template::PasswordChanged))?;
        Ok((true, gone))
    };
    if !accounts.write(app_id, write).await? {
        return Err(failed(attempt).await);
    }
    accounts.platform().mail_hint.nudge();
    Ok(HttpResponse::NoContent().finish())
}

/// Counts a failure, and answers as for every other one.
pub(super) async fn failed(attempt: Option<Attempt>) -> crate::error::Error {
    if let Some(attempt) = attempt {
        attempt.failed().await;
    }
    invalid_secret()
}

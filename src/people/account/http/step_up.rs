//! `POST /v1/auth/step-up`, and what a user changes about their own password: the calls that want a proof of who asks.

use super::passkeys::AssertionIn;
use super::totp::check_shown;
use super::{AskedOut, SessionOut, rejected, welcome};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::AppId;
use crate::mail::Template;
use crate::people::account::access::Accounts;
use crate::people::account::arrival::{Arrival, Entered};
use crate::people::account::caller::UserToken;
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::factor::{self, Shown};
use crate::people::account::foreign::Said;
use crate::people::account::letter;
use crate::people::account::limit::Attempt;
use crate::people::account::methods::Method;
use crate::people::account::password::{check_new, check_presented};
use crate::people::account::store::{self, Credential, End};
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

/// A proof of who asks: one of these.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StepUp)]
pub struct StepUpIn {
    /// The user's password.
    #[schema(value_type = Option<String>, format = Password, max_length = 256)]
    password: Option<Secret>,
    /// A code of their authenticator app.
    #[schema(value_type = Option<String>, max_length = 100)]
    totp_code: Option<Secret>,
    /// One of their recovery codes, which is used up.
    #[schema(value_type = Option<String>, max_length = 100)]
    recovery_code: Option<Secret>,
    /// What a passkey of theirs signed: begin at `/v1/auth/passkeys/sign-in/begin`.
    passkey: Option<AssertionIn>,
}

/// What was said of these.
enum Proof {
    Password(Secret),
    Factor(Shown),
}

impl StepUpIn {
    fn proof(self) -> Result<Proof> {
        let Self { password, totp_code, recovery_code, passkey } = self;
        let passkey = passkey.map(AssertionIn::check).transpose()?;
        let said = [
            password.map(Proof::Password),
            totp_code.map(|code| Proof::Factor(Shown::Totp(code))),
            recovery_code.map(|code| Proof::Factor(Shown::Recovery(code))),
            passkey.map(|assertion| Proof::Factor(Shown::Passkey(Box::new(assertion)))),
        ];
        let mut said = said.into_iter().flatten();
        match (said.next(), said.next()) {
            (Some(proof), None) => Ok(proof),
            (None, _) => Err(Error::invalid("password", "required", "say one of password, totp_code, recovery_code, passkey")),
            (Some(_), Some(_)) => {
                Err(Error::invalid("password", "invalid", "say only one of password, totp_code, recovery_code, passkey"))
            }
        }
    }
}

/// A new password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
pub struct PasswordChangeIn {
    /// The present password; left out by a user who has none, and who has proven lately who they are.
    #[schema(value_type = Option<String>, format = Password, max_length = 256)]
    password: Option<Secret>,
    /// 8 to 256 characters of any kind.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    new_password: Secret,
}

/// Proves once more who the user is. The answer's session takes the place of the one that asked, on its devices too, and
/// is good for sensitive calls for five minutes. Of a user who has a second factor a password is half a proof: the answer
/// is 202, as at a sign-in, and the session follows when the second factor was shown with its token. By that factor alone
/// the step is one.
///
/// # Errors
/// 400, 401 `invalid_credentials`, `invalid_code` or `invalid_passkey`, 409 `no_email`, 429.
#[utoipa::path(post, path = "/v1/auth/step-up", tag = "auth", request_body = StepUpIn, security(("user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 202, body = AskedOut), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn step_up(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<StepUpIn>,
) -> Result<HttpResponse> {
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), None);
    let password = match body.0.proof()? {
        Proof::Password(password) => password,
        Proof::Factor(shown) => return by_factor(&accounts, (caller, address), arrival, shown).await,
    };
    let (email, _) = own_email(&accounts, caller).await?;
    let (said, attempt) = attempt(&accounts, caller, (&email, address), password).await?;
    let write = move |conn: &mut Conn| {
        store::hold_user(conn, caller.app_id, caller.user_id)?;
        if said.holder(conn)? != Some(caller.user_id) {
            return Ok((None, Gone::default()));
        }
        said.settle(conn, caller.user_id, arrival.now_ms())?;
        let mut entered = arrival.step_up(conn, caller)?;
        let gone = std::mem::take(&mut entered.gone);
        Ok((Some(entered), gone))
    };
    finish(&accounts, accounts.write(caller.app_id, write).await?, attempt).await
}

/// The same by anything but a password.
async fn by_factor(
    accounts: &Accounts,
    (caller, address): (UserToken, ClientAddress),
    arrival: Arrival,
    shown: Shown,
) -> Result<HttpResponse> {
    check_shown(&shown)?;
    let (platform, who) = (accounts.platform().clone(), (caller.app_id, caller.user_id, caller.mode));
    let wrong = match &shown {
        Shown::Totp(_) | Shown::Recovery(_) => factor::wrong_code(),
        Shown::Passkey(_) => factor::passkey::refused(),
    };
    let attempt = Attempt::begin(&platform, who.0, &who.1.to_string(), address).await?;
    let write = move |conn: &mut Conn| {
        let Some(method) = factor::check(conn, &platform, who, &shown)? else { return Ok((None, Gone::default())) };
        let mut entered = arrival.again(conn, caller, (method, End::SteppedUp))?;
        let gone = std::mem::take(&mut entered.gone);
        Ok((Some(entered), gone))
    };
    match accounts.write(caller.app_id, write).await? {
        Some(entered) => welcome(accounts, entered),
        None => {
            attempt.failed().await;
            Err(wrong)
        }
    }
}

/// Sets a new password. Every other session ends; the answer's session takes the place of the one that asked. A user who
/// has a second factor has shown it within five minutes, and the owner of a proven address is told.
///
/// # Errors
/// 400, 401 `invalid_credentials` or `insufficient_user_authentication`, 409 `no_email`, 429.
#[utoipa::path(post, path = "/v1/auth/password/change", tag = "auth", request_body = PasswordChangeIn,
    security(("user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn change_password(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<PasswordChangeIn>,
) -> Result<HttpResponse> {
    let PasswordChangeIn { password, new_password } = body.0;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), None);
    let (email, proven) = own_email(&accounts, caller).await?;
    check_new(accounts.platform(), caller.app_id, ("new_password", &new_password), &email).await?;
    let old = match password {
        Some(password) => Some(attempt(&accounts, caller, (&email, address), password).await?),
        None => {
            caller.need_fresh(arrival.now_ms())?;
            None
        }
    };
    let (old, attempt) = old.unzip();
    let password_hash = accounts.hasher().hash(Some(caller.app_id), new_password, accounts.salt(caller.app_id, &email)).await?;
    let new = Credential { app_id: caller.app_id, email, password_hash };
    let platform = accounts.platform().clone();
    let write = move |conn: &mut Conn| {
        let (who, now_ms) = ((caller.app_id, caller.user_id), arrival.now_ms());
        store::hold_user(conn, who.0, who.1)?;
        if !factor::asked(conn, who.0, who.1)?.is_empty() {
            // The password alone is half of who they are.
            caller.need_fresh(now_ms)?;
        }
        let same = store::email_of(conn, who.0, who.1)?.is_some_and(|(email, _)| email == new.email);
        let known = match &old {
            Some(old) => old.holder(conn)? == Some(caller.user_id),
            None if store::has_password(conn, who.0, who.1)? => {
                return Err(Error::invalid("password", "required", "say the present password too"));
            }
            None => true,
        };
        if !known || !same {
            return Ok((None, Gone::default()));
        }
        store::set_password(conn, &new, (caller.user_id, proven), now_ms)?;
        let mut gone = end_others(conn, who, Some(caller.session_id), (End::CredentialChanged, now_ms))?;
        letter::tell(conn, &platform, who, Template::PasswordChanged)?;
        let mut entered = arrival.again(conn, caller, (Method::Password, End::CredentialChanged))?;
        gone.join(std::mem::take(&mut entered.gone));
        Ok((Some(entered), gone))
    };
    let entered = accounts.write(caller.app_id, write).await;
    if let Some(attempt) = attempt.as_ref().filter(|_| !proven) {
        // Whether another account that claims this address has the new password is told here: as at sign-up it costs.
        attempt.failed().await;
    }
    let entered = entered?;
    accounts.platform().mail_hint.nudge();
    match attempt {
        Some(attempt) => finish(&accounts, entered, attempt).await,
        None => welcome(&accounts, entered.ok_or_else(rejected)?),
    }
}

async fn finish(accounts: &Accounts, entered: Option<Entered>, attempt: Attempt) -> Result<HttpResponse> {
    match entered {
        Some(entered) => welcome(accounts, entered),
        None => {
            attempt.failed().await;
            Err(rejected())
        }
    }
}

/// The caller's address, and whether they have proven it.
pub(super) async fn own_email(accounts: &Accounts, caller: UserToken) -> Result<(String, bool)> {
    let found = accounts.platform().store.read(move |conn| store::email_of(conn, caller.app_id, caller.user_id)).await?;
    let none = || Error::conflict("no_email", "This user has no e-mail address, and so no password.");
    found.map(|(email, verified_ms)| (email, verified_ms.is_some())).ok_or_else(none)
}

/// Counts an attempt at the caller's own password and hashes what was said.
async fn attempt(
    accounts: &Accounts,
    caller: UserToken,
    (email, address): (&str, ClientAddress),
    password: Secret,
) -> Result<(Said, Attempt)> {
    check_presented("password", password.expose())?;
    let attempt = count(accounts, caller.app_id, (email, address)).await?;
    Ok((Said::hear(accounts, (caller.app_id, email.to_owned()), password).await?, attempt))
}

/// Counts an attempt at what belongs to an address.
pub(super) async fn count(accounts: &Accounts, app_id: AppId, (email, address): (&str, ClientAddress)) -> Result<Attempt> {
    Attempt::begin(accounts.platform(), app_id, email, address).await
}

/// Refuses a password that is not the caller's own.
///
/// # Errors
/// 400, 401 `invalid_credentials`, 429.
pub(super) async fn check_own(
    accounts: &Accounts,
    caller: UserToken,
    (email, address): (&str, ClientAddress),
    password: Secret,
) -> Result<()> {
    let (said, attempt) = attempt(accounts, caller, (email, address), password).await?;
    let found = accounts.platform().store.read(move |conn| said.holder(conn)).await?;
    if found == Some(caller.user_id) {
        return Ok(());
    }
    attempt.failed().await;
    Err(rejected())
}

//! `/v1/auth/mfa/totp/*`: an authenticator app is added to an account, or taken from it.

use super::second::{CODE_MAX, CodeIn};
use super::{SessionOut, session_out};
use crate::app;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ClientAddress, ProblemBody, check_text};
use crate::mail::{self, Template};
use crate::people::account::access::Accounts;
use crate::people::account::arrival::{Arrival, Door, Entered};
use crate::people::account::caller::UserToken;
use crate::people::account::challenge::{self, Kind, Wanted};
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::factor::totp::{SECRET_BYTES, context, totp_step, uri};
use crate::people::account::factor::{self, Shown, recovery};
use crate::people::account::letter;
use crate::people::account::limit::Attempt;
use crate::people::account::methods::Method;
use crate::people::account::store::{self, End};
use crate::store::Conn;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long an authenticator app may take to show its first code, in seconds.
const ENROLL_S: i64 = 600;

/// Nothing needs to be said; the fields are reserved.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpEnrollIn {}

/// A secret for an authenticator app. It counts once a code of it was shown.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TotpEnrollment)]
pub struct TotpEnrollOut {
    challenge_token: String,
    /// Life of the token, in seconds.
    expires_in: i64,
    /// To be typed in; base32.
    secret: String,
    /// To be shown as a QR code: `otpauth://totp/…`.
    uri: String,
}

/// A code of the authenticator app that is taken away, or a recovery code.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TotpDisable)]
pub struct TotpDisableIn {
    #[schema(value_type = Option<String>, max_length = 100)]
    code: Option<Secret>,
    #[schema(value_type = Option<String>, max_length = 100)]
    recovery_code: Option<Secret>,
}

/// The session that takes the place of the one that asked.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = FactorChanged)]
pub struct ChangedOut {
    #[serde(flatten)]
    pub(super) session: SessionOut,
    /// New recovery codes, each good once; they are never shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recovery_codes: Option<Vec<String>>,
}

/// Makes a secret for an authenticator app.
///
/// # Errors
/// 400, 401, 409 `anonymous_user` or `totp_enabled`.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/enroll", tag = "auth", request_body = TotpEnrollIn, security(("user_token" = [])),
    responses((status = 200, body = TotpEnrollOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn enroll(caller: UserToken, accounts: web::Data<Accounts>, body: Body<TotpEnrollIn>) -> Result<HttpResponse> {
    let TotpEnrollIn {} = body.0;
    let platform = accounts.platform().clone();
    caller.need_fresh(platform.clock.now_ms())?;
    let (app_id, user) = (caller.app_id, caller.user_id);
    let secret = platform.ids.bytes::<SECRET_BYTES>();
    let sealed = platform.master_key.seal(&platform.ids, &context((app_id, user)), &secret)?;
    let wanted = Wanted {
        app_id,
        mode: caller.mode,
        kind: Kind::EnrollTotp,
        user_id: Some(user),
        email: None,
        state: Value::String(STANDARD.encode(sealed)),
        life_ms: ENROLL_S * 1_000,
    };
    let draft = challenge::draft(&platform, wanted);
    let write = move |conn: &mut Conn| {
        if store::user(conn, app_id, user)?.is_none_or(|user| user.anonymous) {
            return Err(Error::conflict(
                "anonymous_user",
                "An anonymous user has no first factor: sign up, then add a second one.",
            ));
        }
        if store::totp(conn, app_id, user)?.is_some() {
            return Err(enabled());
        }
        challenge::open(conn, &draft)?;
        let account = store::email_of(conn, app_id, user)?.map_or_else(|| "account".to_owned(), |(email, _)| email);
        Ok((draft.token, app::name(conn, app_id)?, account))
    };
    let (token, issuer, account) = platform.store.write(write).await?;
    let (secret, uri) = uri(&secret, (&issuer, &account))?;
    let out = TotpEnrollOut { challenge_token: token.expose().to_owned(), expires_in: ENROLL_S, secret, uri };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(out))
}

/// Turns the authenticator app on with its first code. From now on it is asked for after every other first factor. The
/// answer has ten recovery codes; every other session ends, and the answer's takes the place of the one that asked.
///
/// # Errors
/// 400, 401 `invalid_code` or `challenge_over`, 409 `totp_enabled`, 429.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/confirm", tag = "auth", request_body = CodeIn, security(("user_token" = [])),
    responses((status = 200, body = ChangedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn confirm(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CodeIn>,
) -> Result<HttpResponse> {
    body.0.check()?;
    let CodeIn { challenge_token, code } = body.0;
    let platform = accounts.platform().clone();
    let arrival = Arrival::new(&platform, (caller.app_id, caller.mode), request.headers(), None);
    let (who, now_ms) = ((caller.app_id, caller.user_id), arrival.now_ms());
    let hash = challenge::token_hash(&platform, challenge_token.expose());
    let attempt = Attempt::begin(&platform, who.0, &who.1.to_string(), address).await?;
    let write = move |conn: &mut Conn| {
        store::hold_user(conn, who.0, who.1)?;
        let tried = challenge::try_token(conn, Kind::EnrollTotp, (&hash, now_ms))?;
        let Some(tried) = tried.filter(|tried| (tried.app_id, tried.user_id) == (who.0, Some(who.1))) else {
            return Ok((Err(factor::over()), Gone::default()));
        };
        let sealed = STANDARD.decode(tried.state.as_str().unwrap_or_default()).map_err(Error::broken)?;
        let secret = platform.master_key.open(&context(who), &sealed)?;
        let Some(last_step) = totp_step(&secret, code.expose(), now_ms.div_euclid(1_000)) else {
            return Ok((Ok(None), Gone::default()));
        };
        if !challenge::use_up(conn, &tried, now_ms)? {
            return Ok((Err(factor::over()), Gone::default()));
        }
        let totp = store::Totp { app_id: who.0, user_id: who.1, sealed, last_step, created_ms: now_ms };
        if !store::insert_totp(conn, &totp)? {
            return Err(enabled());
        }
        let codes = recovery::renew(conn, &platform, who)?;
        letter::tell(conn, &platform, who, Template::FactorAdded(mail::Factor::Totp))?;
        let (entered, gone) = changed(conn, arrival, caller, Method::Totp)?;
        Ok((Ok(Some((entered, Some(codes)))), gone))
    };
    match accounts.write(caller.app_id, write).await?? {
        Some(done) => answer(&accounts, done),
        None => {
            attempt.failed().await;
            Err(factor::wrong_code())
        }
    }
}

/// Turns the authenticator app off. Every other session ends, and the answer's takes the place of the one that asked.
///
/// # Errors
/// 400, 401 `invalid_code` or `insufficient_user_authentication`, 429.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/disable", tag = "auth", request_body = TotpDisableIn, security(("user_token" = [])),
    responses((status = 200, body = ChangedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub async fn disable(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<TotpDisableIn>,
) -> Result<HttpResponse> {
    let shown = match (body.0.code, body.0.recovery_code) {
        (Some(code), None) => Shown::Totp(code),
        (None, Some(code)) => Shown::Recovery(code),
        (None, None) => return Err(Error::invalid("code", "required", "say a code of the app, or a recovery code")),
        (Some(_), Some(_)) => return Err(Error::invalid("recovery_code", "invalid", "say one code, not both")),
    };
    check_shown(&shown)?;
    let platform = accounts.platform().clone();
    let arrival = Arrival::new(&platform, (caller.app_id, caller.mode), request.headers(), None);
    caller.need_fresh(arrival.now_ms())?;
    let who = (caller.app_id, caller.user_id);
    let attempt = Attempt::begin(&platform, who.0, &who.1.to_string(), address).await?;
    let write = move |conn: &mut Conn| {
        let Some(method) = factor::check(conn, &platform, (who.0, who.1, caller.mode), &shown)? else {
            return Ok((None, Gone::default()));
        };
        store::drop_totp(conn, who.0, who.1)?;
        let codes = factor::settle(conn, &platform, who)?;
        letter::tell(conn, &platform, who, Template::FactorRemoved(mail::Factor::Totp))?;
        let (entered, gone) = changed(conn, arrival, caller, method)?;
        Ok((Some((entered, codes)), gone))
    };
    match accounts.write(caller.app_id, write).await? {
        Some(done) => answer(&accounts, done),
        None => {
            attempt.failed().await;
            Err(factor::wrong_code())
        }
    }
}

/// Bounds what is compared.
pub(super) fn check_shown(shown: &Shown) -> Result<()> {
    match shown {
        Shown::Totp(code) => check_text("code", code.expose(), CODE_MAX),
        Shown::Recovery(code) => check_text("recovery_code", code.expose(), CODE_MAX),
        Shown::Passkey(_) => Ok(()),
    }
}

/// A factor has changed, and its user has just proven who they are: every session of theirs ends, and a new one begins.
pub(super) fn changed(conn: &mut Conn, arrival: Arrival, caller: UserToken, method: Method) -> Result<(Entered, Gone)> {
    let why = (End::CredentialChanged, arrival.now_ms());
    let mut gone = end_others(conn, (caller.app_id, caller.user_id), Some(caller.session_id), why)?;
    let mut entered = arrival.again(conn, caller, (method, End::CredentialChanged))?;
    gone.join(std::mem::take(&mut entered.gone));
    Ok((entered, gone))
}

pub(super) fn answer(accounts: &Accounts, (entered, recovery_codes): (Entered, Option<Vec<String>>)) -> Result<HttpResponse> {
    let Door::Open(session) = entered.door else { return Err(Error::broken("a second factor was asked for inside a session")) };
    accounts.platform().mail_hint.nudge();
    let session = session_out(accounts, entered.user, (&session, 0))?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(ChangedOut { session, recovery_codes }))
}

fn enabled() -> Error {
    Error::conflict("totp_enabled", "This user has an authenticator app already; turn it off first.")
}

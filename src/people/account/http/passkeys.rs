//! `/v1/auth/passkeys/*`: registering a passkey, signing in with one.

use super::factors::{MyPasskey, NAME_MAX};
use super::sign::{Other, anonymous_caller};
use super::totp::changed;
use super::{AskedOut, SessionOut, session_out, welcome};
use crate::app::{PublishableKey, bearer};
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::{Body, ClientAddress, ProblemBody, check_text};
use crate::mail::{self, Template};
use crate::people::account::access::Accounts;
use crate::people::account::arrival::{Arrival, Door, Entered};
use crate::people::account::caller::UserToken;
use crate::people::account::challenge::{self, Kind};
use crate::people::account::departure::Gone;
use crate::people::account::factor;
use crate::people::account::factor::passkey::{self, Assertion, Begun, For, LIFE_S};
use crate::people::account::letter;
use crate::people::account::limit::by_address;
use crate::people::account::methods::{Method, Methods};
use crate::people::account::store;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use webauthn_rs::prelude::{PublicKeyCredential, RegisterPublicKeyCredential};

/// Longest answer of an authenticator, in bytes of its largest part.
const PART_MAX: usize = 65_536;

/// Nothing needs to be said; the fields are reserved.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyRegisterBeginIn {}

/// Whom to ask for a passkey.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeySignInBeginIn {
    /// From the answer that asked for a second factor; left out to sign in with a passkey alone.
    #[schema(value_type = Option<String>, max_length = 100)]
    challenge_token: Option<Secret>,
}

/// What the client hands to its authenticator.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasskeyOptions {
    challenge_token: String,
    /// Life of the token, in seconds.
    expires_in: i64,
    /// `PublicKeyCredentialCreationOptionsJSON` or `PublicKeyCredentialRequestOptionsJSON` of WebAuthn, as browsers and
    /// phones take them.
    #[schema(value_type = Object)]
    options: Value,
}

/// What the authenticator made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyRegisterFinishIn {
    #[schema(value_type = String, max_length = 100)]
    challenge_token: Secret,
    /// `RegistrationResponseJSON` of WebAuthn: `credential.toJSON()`.
    #[schema(value_type = Object)]
    credential: RegisterPublicKeyCredential,
    /// What the user calls it; `Passkey` when left out.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
}

/// What the authenticator signed.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionIn {
    #[schema(value_type = String, max_length = 100)]
    challenge_token: Secret,
    /// `AuthenticationResponseJSON` of WebAuthn: `credential.toJSON()`.
    #[schema(value_type = Object)]
    credential: PublicKeyCredential,
}

/// A passkey, and the session that takes the place of the one that asked.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasskeyRegistered {
    #[serde(flatten)]
    session: SessionOut,
    passkey: MyPasskey,
}

impl AssertionIn {
    pub(super) fn check(self) -> Result<Assertion> {
        check_text("challenge_token", self.challenge_token.expose(), 100)?;
        let answer = &self.credential.response;
        let parts = [&self.credential.raw_id, &answer.authenticator_data, &answer.client_data_json, &answer.signature];
        check_parts(&parts)?;
        Ok(Assertion { token: self.challenge_token, credential: self.credential })
    }
}

/// Begins to register a passkey.
///
/// # Errors
/// 400, 401 `insufficient_user_authentication`, 409 `no_passkeys` or `too_many`.
#[utoipa::path(post, path = "/v1/auth/passkeys/register/begin", tag = "auth", request_body = PasskeyRegisterBeginIn,
    security(("user_token" = [])),
    responses((status = 200, body = PasskeyOptions), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn register_begin(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    body: Body<PasskeyRegisterBeginIn>,
) -> Result<HttpResponse> {
    let PasskeyRegisterBeginIn {} = body.0;
    let platform = accounts.platform().clone();
    caller.need_fresh(platform.clock.now_ms())?;
    let who = (caller.app_id, caller.user_id, caller.mode);
    let write = move |conn: &mut Conn| passkey::begin_register(conn, &platform, who);
    Ok(options(accounts.platform().store.write(write).await?))
}

/// Registers a passkey. An anonymous user has an account from then on. Every other session ends, and the answer's takes
/// the place of the one that asked.
///
/// # Errors
/// 400 `passkey_refused`, 401 `challenge_over`, 409 `passkey_known`.
#[utoipa::path(post, path = "/v1/auth/passkeys/register/finish", tag = "auth", request_body = PasskeyRegisterFinishIn,
    security(("user_token" = [])),
    responses((status = 200, body = PasskeyRegistered), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn register_finish(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    request: HttpRequest,
    body: Body<PasskeyRegisterFinishIn>,
) -> Result<HttpResponse> {
    let PasskeyRegisterFinishIn { challenge_token, credential, name } = body.0;
    let name = name.unwrap_or_else(|| "Passkey".to_owned());
    check_text("name", &name, NAME_MAX)?;
    check_text("challenge_token", challenge_token.expose(), 100)?;
    check_parts(&[&credential.raw_id, &credential.response.attestation_object, &credential.response.client_data_json])?;
    let platform = accounts.platform().clone();
    let anonymous = anonymous_caller(&accounts, (caller.app_id, caller.mode), request.headers(), Other::Left).await?;
    let arrival = Arrival::new(&platform, (caller.app_id, caller.mode), request.headers(), anonymous);
    let write = move |conn: &mut Conn| {
        let who = (caller.app_id, caller.user_id, name);
        if anonymous.is_none() {
            store::hold_user(conn, caller.app_id, caller.user_id)?;
        }
        match passkey::register(conn, &platform, who, (&challenge_token, &credential))? {
            None => Ok((Err(factor::over()), Gone::default())),
            Some(Err(reason)) => Ok((Err(unfit(&reason)), Gone::default())),
            Some(Ok(passkey)) => {
                let (entered, gone) = if anonymous.is_some() {
                    arrival.hold(conn)?;
                    let mut entered = arrival.by(&Methods::one(Method::Passkey)).new_user(conn, false)?;
                    let gone = std::mem::take(&mut entered.gone);
                    (entered, gone)
                } else {
                    let template = Template::FactorAdded(mail::Factor::Passkey);
                    letter::tell(conn, &platform, (caller.app_id, caller.user_id), template)?;
                    changed(conn, arrival, caller, Method::Passkey)?
                };
                Ok((Ok((entered, passkey)), gone))
            }
        }
    };
    let (entered, passkey) = accounts.write(caller.app_id, write).await??;
    accounts.platform().mail_hint.nudge();
    let Door::Open(session) = entered.door else { return Err(Error::broken("a second factor was asked for inside a session")) };
    let session = session_out(&accounts, entered.user, (&session, 0))?;
    let out = PasskeyRegistered { session, passkey: MyPasskey::of(passkey) };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(out))
}

/// Begins to sign in with a passkey. Nobody is named: the authenticator says who it is. With the token of a second factor,
/// or with the access token of a user who wants to step up, it is that user's passkeys that are asked for.
///
/// # Errors
/// 400, 401 `challenge_over`, 409 `no_passkeys`, 429.
#[utoipa::path(post, path = "/v1/auth/passkeys/sign-in/begin", tag = "auth", request_body = PasskeySignInBeginIn,
    security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = PasskeyOptions), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_in_begin(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<PasskeySignInBeginIn>,
) -> Result<HttpResponse> {
    if let Some(token) = &body.0.challenge_token {
        check_text("challenge_token", token.expose(), 100)?;
    }
    let platform = accounts.platform().clone();
    by_address(&platform, address).await?;
    let known = known_caller(&accounts, caller, &request).await?;
    let (app, now_ms) = ((caller.app_id, caller.mode), platform.clock.now_ms());
    let hash = body.0.challenge_token.map(|token| challenge::token_hash(&platform, token.expose()));
    let write = move |conn: &mut Conn| {
        let whom = match hash {
            Some(hash) => {
                let waiting = challenge::peek(conn, Kind::SecondFactor, (&hash, now_ms))?;
                let waiting = waiting.filter(|waiting| (waiting.app_id, waiting.mode) == app);
                For::Second(waiting.and_then(|waiting| waiting.user_id).ok_or_else(factor::over)?, hash)
            }
            None => known.map_or(For::Anybody, |token| For::User(token.user_id)),
        };
        passkey::begin_sign(conn, &platform, app, whom)
    };
    Ok(options(accounts.platform().store.write(write).await?))
}

/// Signs in with a passkey, which is two factors in one; or ends a sign-in with it as the second factor. With the access
/// token of an anonymous user, what they did before is merged into the account, and their session ends.
///
/// # Errors
/// 400, 401 `invalid_passkey` or `challenge_over`, 429.
#[utoipa::path(post, path = "/v1/auth/passkeys/sign-in/finish", tag = "auth", request_body = AssertionIn,
    security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 202, body = AskedOut), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn sign_in_finish(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<AssertionIn>,
) -> Result<HttpResponse> {
    let assertion = body.0.check()?;
    let platform = accounts.platform().clone();
    by_address(&platform, address).await?;
    let anonymous = anonymous_caller(&accounts, (caller.app_id, caller.mode), request.headers(), Other::Left).await?;
    let arrival = Arrival::new(&platform, (caller.app_id, caller.mode), request.headers(), anonymous);
    let write = move |conn: &mut Conn| {
        let entered = open(conn, (&platform, caller), arrival, &assertion)?;
        Ok(match entered {
            Ok(mut entered) => {
                let gone = std::mem::take(&mut entered.gone);
                (Ok(entered), gone)
            }
            Err(refused) => (Err(refused), Gone::default()),
        })
    };
    welcome(&accounts, accounts.write(caller.app_id, write).await??)
}

/// What a signature opens; the inner refusal is to be committed, since what was shown is used up.
fn open(
    conn: &mut Conn,
    (platform, caller): (&Platform, PublishableKey),
    arrival: Arrival,
    assertion: &Assertion,
) -> Result<Result<Entered>> {
    let (app_id, mode, now_ms) = (caller.app_id, caller.mode, arrival.now_ms());
    let Some(asserted) = passkey::assert(conn, platform, (app_id, mode, None), assertion)? else {
        return Ok(Err(passkey::refused()));
    };
    let Some(hash) = asserted.second else {
        let user = store::arriving(conn, app_id, asserted.user)?;
        let Some(user) = user else { return Ok(Err(passkey::refused())) };
        return arrival.by(&Methods::one(Method::Passkey)).known(conn, user).map(Ok);
    };
    let waiting = challenge::try_token(conn, Kind::SecondFactor, (&hash, now_ms))?;
    let Some(waiting) = waiting.filter(|waiting| waiting.user_id == Some(asserted.user)) else { return Ok(Err(factor::over())) };
    if !challenge::use_up(conn, &waiting, now_ms)? {
        return Ok(Err(factor::over()));
    }
    arrival.second(conn, waiting, Method::Passkey).map(Ok)
}

/// The user with an account who asks, if there is an access token of one.
async fn known_caller(accounts: &Accounts, caller: PublishableKey, request: &HttpRequest) -> Result<Option<UserToken>> {
    let Some(token) = bearer(request.headers()) else { return Ok(None) };
    let token = accounts.verify(&token).await?;
    Ok(Some(token).filter(|token| token.app_id == caller.app_id && !token.acting))
}

fn options(Begun { token, options }: Begun) -> HttpResponse {
    let out = PasskeyOptions { challenge_token: token.expose().to_owned(), expires_in: LIFE_S, options };
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(out)
}

fn check_parts(parts: &[&Vec<u8>]) -> Result<()> {
    if parts.iter().any(|part| part.len() > PART_MAX) {
        return Err(Error::invalid("credential", "too_long", format!("no part of it may have more than {PART_MAX} bytes")));
    }
    Ok(())
}

/// What is wrong with a new passkey tells nobody anything about another one.
fn unfit(reason: &str) -> Error {
    Problem::new(400, "passkey_refused", format!("The passkey cannot be registered: {reason}.")).into()
}

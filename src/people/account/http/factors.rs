//! `/v1/me/factors` and what belongs to it: which factors a user has; passkeys named and deleted, a password given up.

use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody, check_text, given};
use crate::id::{AppId, PasskeyId, UserId};
use crate::mail::{self, Template};
use crate::people::account::access::Accounts;
use crate::people::account::caller::UserToken;
use crate::people::account::departure::{Gone, end_others};
use crate::people::account::factor::{self, recovery};
use crate::people::account::letter;
use crate::people::account::store::{self, End, Passkey};
use crate::store::Conn;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Longest name of a passkey, in characters.
pub(super) const NAME_MAX: usize = 100;

/// What a user has to prove who they are.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Factors {
    /// Whether there is a password.
    password: bool,
    /// Whether a second factor is asked for after another first one.
    second_factor: bool,
    /// Since when there is an authenticator app; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_since: Option<Time>,
    recovery_codes_left: i64,
    passkeys: Vec<MyPasskey>,
}

/// A passkey.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Passkey)]
pub struct MyPasskey {
    id: PasskeyId,
    name: String,
    /// Whether it is asked for after another first factor.
    second_factor: bool,
    /// Whether its authenticator keeps a copy elsewhere.
    backed_up: bool,
    /// How devices reach its authenticator: `internal`, `hybrid`, `usb`, …
    transports: Vec<String>,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Time>,
}

/// What changes of a passkey.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyPatch {
    /// What the user calls it.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Whether it is asked for after another first factor. This needs a fresh proof, and ends every other session.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    second_factor: Option<bool>,
}

/// A passkey as it is now.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasskeyPatched {
    #[serde(flatten)]
    passkey: MyPasskey,
    /// The first recovery codes, when this was the first second factor; they are never shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

/// Nothing needs to be said; the fields are reserved.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoveryCodesIn {}

/// Ten codes, each good once; they are never shown again.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

impl Factors {
    pub(super) fn of(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Self> {
        Ok(Self {
            password: store::has_password(conn, app_id, user)?,
            second_factor: !factor::asked(conn, app_id, user)?.is_empty(),
            totp_since: store::totp(conn, app_id, user)?.map(|totp| Time(totp.created_ms)),
            recovery_codes_left: store::codes_left(conn, app_id, user)?,
            passkeys: store::passkeys(conn, app_id, user)?.into_iter().map(MyPasskey::of).collect(),
        })
    }
}

impl MyPasskey {
    pub(super) fn of(passkey: Passkey) -> Self {
        let Passkey { id, name, second_factor, backed_up, transports, created_ms, last_used_ms, .. } = passkey;
        let (created_at, last_used_at) = (Time(created_ms), last_used_ms.map(Time));
        Self { id, name, second_factor, backed_up, transports: transports.0, created_at, last_used_at }
    }
}

/// The user's factors.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/me/factors", tag = "auth", security(("user_token" = [])),
    responses((status = 200, body = Factors), (status = 401, body = ProblemBody)))]
pub async fn read(caller: UserToken, accounts: web::Data<Accounts>) -> Result<HttpResponse> {
    let (app_id, user) = (caller.app_id, caller.user_id);
    let factors = accounts.platform().store.read(move |conn| Factors::of(conn, app_id, user));
    Ok(HttpResponse::Ok().json(factors.await?))
}

/// Makes new recovery codes in place of the ones there were. Every other session ends.
///
/// # Errors
/// 400, 401 `insufficient_user_authentication`, 409 `no_second_factor`.
#[utoipa::path(post, path = "/v1/auth/mfa/recovery-codes", tag = "auth", request_body = RecoveryCodesIn, security(("user_token" = [])),
    responses((status = 200, body = RecoveryCodes), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn renew_codes(caller: UserToken, accounts: web::Data<Accounts>, body: Body<RecoveryCodesIn>) -> Result<HttpResponse> {
    let RecoveryCodesIn {} = body.0;
    let platform = accounts.platform().clone();
    caller.need_fresh(platform.clock.now_ms())?;
    let write = move |conn: &mut Conn| {
        let who = hold(conn, caller)?;
        if factor::asked(conn, who.0, who.1)?.is_empty() {
            return Err(Error::conflict(
                "no_second_factor",
                "Without a second factor there is nothing to recover: add one first.",
            ));
        }
        let codes = recovery::renew(conn, &platform, who)?;
        Ok((codes, others_end(conn, caller, platform.clock.now_ms())?))
    };
    let recovery_codes = accounts.write(caller.app_id, write).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(RecoveryCodes { recovery_codes }))
}

/// Names a passkey, and says whether it is asked for as a second factor.
///
/// # Errors
/// 400, 401, 404.
#[utoipa::path(patch, path = "/v1/me/passkeys/{id}", tag = "auth", params(("id" = PasskeyId, Path)), request_body = PasskeyPatch,
    security(("user_token" = [])),
    responses((status = 200, body = PasskeyPatched), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    path: web::Path<String>,
    body: Body<PasskeyPatch>,
) -> Result<HttpResponse> {
    let id = passkey_id(&path)?;
    let PasskeyPatch { name, second_factor } = body.0;
    if let Some(name) = &name {
        check_text("name", name, NAME_MAX)?;
    }
    let platform = accounts.platform().clone();
    let now_ms = platform.clock.now_ms();
    let write = move |conn: &mut Conn| {
        hold(conn, caller)?;
        let mut passkey = own(conn, caller, id)?;
        let changes = second_factor.is_some_and(|wanted| wanted != passkey.second_factor);
        if changes {
            caller.need_fresh(now_ms)?;
        }
        passkey.name = name.unwrap_or(passkey.name);
        passkey.second_factor = second_factor.unwrap_or(passkey.second_factor);
        store::name_passkey(conn, &passkey)?;
        if !changes {
            return Ok(((passkey, None), Gone::default()));
        }
        let codes = factor::settle(conn, &platform, (caller.app_id, caller.user_id))?;
        Ok(((passkey, codes), others_end(conn, caller, now_ms)?))
    };
    let (passkey, recovery_codes) = accounts.write(caller.app_id, write).await?;
    let out = PasskeyPatched { passkey: MyPasskey::of(passkey), recovery_codes };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(out))
}

/// Deletes a passkey. Every other session ends.
///
/// # Errors
/// 400, 401 `insufficient_user_authentication`, 404, 409 `last_way_in`.
#[utoipa::path(delete, path = "/v1/me/passkeys/{id}", tag = "auth", params(("id" = PasskeyId, Path)), security(("user_token" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
pub async fn delete(caller: UserToken, accounts: web::Data<Accounts>, path: web::Path<String>) -> Result<HttpResponse> {
    let id = passkey_id(&path)?;
    let platform = accounts.platform().clone();
    let now_ms = platform.clock.now_ms();
    let write = move |conn: &mut Conn| {
        let (app_id, user) = hold(conn, caller)?;
        own(conn, caller, id)?;
        caller.need_fresh(now_ms)?;
        store::drop_passkey(conn, app_id, id)?;
        factor::need_way_in(conn, app_id, user)?;
        // Whoever still needs a second factor has recovery codes: this takes them away at most.
        factor::settle(conn, &platform, (app_id, user))?;
        letter::tell(conn, &platform, (app_id, user), Template::FactorRemoved(mail::Factor::Passkey))?;
        Ok(((), others_end(conn, caller, now_ms)?))
    };
    accounts.write(caller.app_id, write).await?;
    accounts.platform().mail_hint.nudge();
    Ok(HttpResponse::NoContent().finish())
}

/// Gives the password up; the user signs in by what else they have. Every other session ends.
///
/// # Errors
/// 401 `insufficient_user_authentication`, 404, 409 `last_way_in`.
#[utoipa::path(delete, path = "/v1/me/password", tag = "auth", security(("user_token" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn delete_password(caller: UserToken, accounts: web::Data<Accounts>) -> Result<HttpResponse> {
    let now_ms = accounts.platform().clock.now_ms();
    let write = move |conn: &mut Conn| {
        let (app_id, user) = hold(conn, caller)?;
        if !store::has_password(conn, app_id, user)? {
            return Err(Error::not_found("password"));
        }
        caller.need_fresh(now_ms)?;
        store::drop_password(conn, app_id, user)?;
        factor::need_way_in(conn, app_id, user)?;
        Ok(((), others_end(conn, caller, now_ms)?))
    };
    accounts.write(caller.app_id, write).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Nothing changes how the user comes in meanwhile, and the caller's session has not ended.
fn hold(conn: &mut Conn, caller: UserToken) -> Result<(AppId, UserId)> {
    store::hold_user(conn, caller.app_id, caller.user_id)?;
    store::keep_open(conn, caller.app_id, caller.session_id)?;
    Ok((caller.app_id, caller.user_id))
}

/// A factor has changed: nobody who knew the old one stays.
fn others_end(conn: &mut Conn, caller: UserToken, now_ms: i64) -> Result<Gone> {
    let who = (caller.app_id, caller.user_id);
    end_others(conn, who, Some(caller.session_id), (End::CredentialChanged, now_ms))
}

fn passkey_id(path: &web::Path<String>) -> Result<PasskeyId> {
    path.parse().map_err(|e: crate::id::IdError| e.at("id"))
}

/// A passkey of the caller.
fn own(conn: &mut Conn, caller: UserToken, id: PasskeyId) -> Result<Passkey> {
    let all = store::passkeys(conn, caller.app_id, caller.user_id)?;
    all.into_iter().find(|passkey| passkey.id == id).ok_or_else(|| Error::not_found("passkey"))
}

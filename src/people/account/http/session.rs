//! What a session does later: refresh, sign-out; and the public keys of its tokens.

use super::{Jwks, RefreshIn, SessionOut, SignOutIn, answer};
use crate::app::{self, PublishableKey};
use crate::error::{Error, Problem, Result};
use crate::http::{Body, ProblemBody};
use crate::people::account::access::Accounts;
use crate::people::account::caller::UserToken;
use crate::people::account::departure::{self, Gone};
use crate::people::account::keyring::CACHE_S;
use crate::people::account::refresh::{self, Life, Presented, Verdict};
use crate::people::account::store::{self, End};
use crate::people::device;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde::Serialize;

/// Trades a refresh token for the next one and a fresh access token. Repeating it gives the same refresh token.
///
/// # Errors
/// 400, 401 `invalid_refresh_token`.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", request_body = RefreshIn, security(("publishable_key" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn refresh(caller: PublishableKey, accounts: web::Data<Accounts>, body: Body<RefreshIn>) -> Result<HttpResponse> {
    let refused = || {
        let detail = "The refresh token is unknown, too old or of a session that has ended: sign in again.";
        Error::from(Problem::new(401, "invalid_refresh_token", detail))
    };
    let platform = accounts.platform();
    let issuer = (caller.app_id, caller.mode.name());
    let (session_id, generation) =
        refresh::read(&platform.master_key, issuer, body.0.refresh_token.expose()).ok_or_else(refused)?;
    let (now_ms, life_days) = (platform.clock.now_ms(), platform.config.refresh_token_life_days);
    let write = move |conn: &mut Conn| {
        let life = Life::of(life_days, &app::settings(conn, caller.app_id)?);
        let presented = Presented { generation, now_ms, life };
        let (verdict, session) = store::refresh(conn, caller.app_id, session_id, &presented)?;
        let mut gone = Gone::default();
        if let (Verdict::Reused, Some((_, user))) = (verdict, &session) {
            gone.add(&[session_id], device::unbind(conn, caller.app_id, user.id, &[session_id])?);
        }
        Ok(((verdict, session), gone))
    };
    match accounts.write(caller.app_id, write).await? {
        (Verdict::Child(child), Some((session, user))) => answer(&accounts, user, (&session, child)),
        (Verdict::Child(_) | Verdict::Refused, _) => Err(refused()),
        (Verdict::Reused, _) => {
            metrics::counter!("kairos_refresh_reuse_total").increment(1);
            Err(refused())
        }
    }
}

/// Ends the session: its tokens are refused from this answer on, and pushes no longer reach the devices that it registered.
///
/// # Errors
/// 400, 401.
#[utoipa::path(post, path = "/v1/auth/sign-out", tag = "auth", request_body = SignOutIn, security(("user_token" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn sign_out(caller: UserToken, accounts: web::Data<Accounts>, body: Body<SignOutIn>) -> Result<HttpResponse> {
    let SignOutIn {} = body.0;
    let now_ms = accounts.platform().clock.now_ms();
    let write = move |conn: &mut Conn| {
        let who = (caller.app_id, caller.user_id);
        Ok(((), departure::end(conn, who, &[caller.session_id], (End::SignedOut, now_ms))?))
    };
    accounts.write(caller.app_id, write).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The public keys with which anyone can check our access tokens.
///
/// # Errors
/// 503.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", responses((status = 200, body = Jwks)))]
pub async fn jwks(platform: web::Data<Platform>) -> Result<HttpResponse> {
    let keys = platform.store.read(store::public_keys).await?;
    let keys = keys.into_iter().map(|jwk| jwk.0).collect();
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, format!("public, max-age={CACHE_S}"))).json(Jwks { keys }))
}

/// What another service has to know to check our access tokens with a stock library (OpenID Connect Discovery 1.0,
/// RFC 8414).
#[derive(Serialize, utoipa::ToSchema)]
pub struct Metadata {
    issuer: String,
    jwks_uri: String,
    id_token_signing_alg_values_supported: [&'static str; 1],
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    claims_supported: [&'static str; 12],
}

/// Where our keys are, and who we are. We issue access tokens to our own apps by `/v1/auth/*`, not by OAuth's endpoints.
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "auth", responses((status = 200, body = Metadata)))]
pub async fn metadata(platform: web::Data<Platform>) -> HttpResponse {
    let issuer = platform.config.public_url.clone();
    let metadata = Metadata {
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        issuer,
        id_token_signing_alg_values_supported: ["EdDSA"],
        response_types_supported: ["none"],
        subject_types_supported: ["public"],
        claims_supported: ["iss", "aud", "sub", "sid", "client_id", "amr", "auth_time", "iat", "exp", "jti", "act", "claims"],
    };
    HttpResponse::Ok().insert_header((CACHE_CONTROL, format!("public, max-age={CACHE_S}"))).json(metadata)
}

/// The same under the name of RFC 8414.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "auth", responses((status = 200, body = Metadata)))]
pub async fn server_metadata(platform: web::Data<Platform>) -> HttpResponse {
    metadata(platform).await
}

//! `/v1/auth/*`: sessions of users, and the public keys of their tokens.

pub mod address;
pub mod code;
pub mod factors;
pub mod mine;
pub mod page;
pub mod passkeys;
mod presented;
pub mod reset;
pub mod second;
pub mod session;
pub mod sign;
pub mod step_up;
pub mod theirs;
pub mod totp;

use super::access::Accounts;
use super::arrival::{Door, Entered};
use super::factor::Factor;
use super::letter::Sealed;
use super::store::{Session, User};
use crate::clock::Time;
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::id::{ChallengeId, UserId};
use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// E-mail and password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Credentials)]
pub struct CredentialsIn {
    #[schema(example = "ada@example.com", max_length = 254)]
    pub(super) email: String,
    /// 8 to 256 characters of any kind.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    pub(super) password: Secret,
}

/// Nothing needs to be said; the fields are reserved.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnonymousIn {}

/// The refresh token of the latest answer.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshIn {
    #[schema(value_type = String)]
    pub(super) refresh_token: Secret,
}

/// What ends with the session.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignOutIn {}

/// A session.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Session)]
pub struct SessionOut {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Life of the access token, in seconds.
    expires_in: i64,
    /// For the next refresh. It stays valid until the token of that refresh's answer is used.
    refresh_token: String,
    user: SessionUser,
}

/// The signed-in user; `/v1/me` has the profile.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionUser {
    id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    anonymous: bool,
    created_at: Time,
}

/// Public keys of our access tokens (RFC 7517).
#[derive(Serialize, utoipa::ToSchema)]
pub struct Jwks {
    #[schema(value_type = Vec<Object>)]
    pub(super) keys: Vec<Value>,
}

/// A mail is on its way, if the address can get one: nothing here tells.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Asked {
    /// Goes with the code from the mail.
    challenge_id: ChallengeId,
    /// How long code and link are good, in seconds.
    expires_in: i64,
}

impl Asked {
    fn of(sealed: &Sealed) -> Self {
        Self { challenge_id: sealed.draft.id, expires_in: sealed.expires_in_s }
    }
}

/// One answer for a code or link that is wrong, used, too old, or tried too often.
fn invalid_secret() -> Error {
    Problem::new(401, "invalid_secret", "The code or link is wrong, was used, or is too old: ask for a new one.").into()
}

/// The first factor was right; a second one is wanted.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SecondFactor)]
pub struct AskedOut {
    /// Goes with the second factor. It is good once, and for five wrong codes at most.
    challenge_token: String,
    /// What this user can show.
    factors: Vec<Factor>,
    /// Life of the token, in seconds.
    expires_in: i64,
}

/// One answer for an unknown e-mail, a wrong password and a disabled user.
fn rejected() -> Error {
    Problem::new(401, "invalid_credentials", "E-mail and password do not belong together.").into()
}

/// The first tokens of a session that has begun, and its user; or which second factor is wanted.
pub(super) fn welcome(accounts: &Accounts, entered: Entered) -> Result<HttpResponse> {
    match entered.door {
        Door::Open(session) => answer(accounts, entered.user, (&session, 0)),
        Door::Factor(token, factors, expires_in) => {
            let out = AskedOut { challenge_token: token.expose().to_owned(), factors, expires_in };
            Ok(HttpResponse::Accepted().insert_header((CACHE_CONTROL, "no-store")).json(out))
        }
    }
}

/// The tokens of a session at a place in its chain, and its user.
fn answer(accounts: &Accounts, user: User, session: (&Session, i64)) -> Result<HttpResponse> {
    let out = session_out(accounts, user, session)?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(out))
}

fn session_out(accounts: &Accounts, user: User, (session, generation): (&Session, i64)) -> Result<SessionOut> {
    let tokens = accounts.tokens(session, user.claims.map(|doc| doc.0), generation)?;
    Ok(SessionOut {
        access_token: tokens.access,
        expires_in: tokens.expires_in_s,
        refresh_token: tokens.refresh.expose().to_owned(),
        user: SessionUser {
            id: user.id,
            external_id: user.external_id,
            anonymous: user.anonymous,
            created_at: Time(user.created_ms),
        },
    })
}

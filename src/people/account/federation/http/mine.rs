//! `/v1/me/identities`: by whose word a user gets in.

use super::sign::shown;
use crate::clock::Time;
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::IdentityId;
use crate::people::account::access::Accounts;
use crate::people::account::caller::UserToken;
use crate::people::account::challenge::{self, Kind};
use crate::people::account::federation::enter::Guest;
use crate::people::account::federation::store::{self, Identity};
use crate::people::account::federation::{Federation, link};
use crate::people::account::limit::by_address;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// An identity that is to be linked: an ID token, or what a sign-in with one was answered with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IdentityLink)]
pub struct LinkIn {
    /// The `link_token` of the 202 of `POST /v1/auth/id-token`; nothing else is said with it.
    #[schema(value_type = Option<String>)]
    link_token: Option<Secret>,
    /// `apple`, `google`, or the app's own name for it.
    provider: Option<String>,
    /// The ID token, as the provider's library gave it.
    #[schema(value_type = Option<String>, max_length = 8192)]
    id_token: Option<Secret>,
    /// The nonce that the app chose.
    #[schema(value_type = Option<String>, max_length = 2048)]
    nonce: Option<Secret>,
    /// Apple's authorization code.
    #[schema(value_type = Option<String>, max_length = 2048)]
    authorization_code: Option<Secret>,
}

/// By whose word a user gets in.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Identity)]
pub struct IdentityOut {
    id: IdentityId,
    provider: String,
    /// The address that the provider knows; not always the account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Whether it forwards to an address that only the provider knows.
    email_is_private: bool,
    /// Whether it forwards at present.
    email_reachable: bool,
    created_at: Time,
    last_used_at: Time,
}

/// All identities of a user.
#[derive(Serialize, utoipa::ToSchema)]
pub struct IdentitiesOut {
    /// The oldest first.
    items: Vec<IdentityOut>,
}

impl IdentityOut {
    fn of(identity: Identity) -> Self {
        let Identity { id, provider, email, email_is_private, email_reachable, created_ms, last_used_ms, .. } = identity;
        let (created_at, last_used_at) = (Time(created_ms), Time(last_used_ms));
        Self { id, provider, email, email_is_private, email_reachable, created_at, last_used_at }
    }
}

/// By whose word the user gets in.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/me/identities", tag = "auth", security(("user_token" = [])),
    responses((status = 200, body = IdentitiesOut), (status = 401, body = ProblemBody)))]
pub async fn list(caller: UserToken, platform: web::Data<Platform>) -> Result<HttpResponse> {
    let all = platform.store.read(move |conn| store::of_user(conn, caller.app_id, caller.user_id)).await?;
    Ok(HttpResponse::Ok().json(IdentitiesOut { items: all.into_iter().map(IdentityOut::of).collect() }))
}

/// Links an identity to the account of the user, who has proven lately who they are.
///
/// # Errors
/// 400, 401 `invalid_id_token`, `invalid_link_token` or `insufficient_user_authentication`, 409, 429, 503.
#[utoipa::path(post, path = "/v1/me/identities", tag = "auth", request_body = LinkIn, security(("user_token" = [])),
    responses((status = 201, body = IdentityOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 429, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn create(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    federation: web::Data<Federation>,
    address: ClientAddress,
    body: Body<LinkIn>,
) -> Result<HttpResponse> {
    let platform = accounts.platform();
    let now_ms = platform.clock.now_ms();
    caller.need_fresh(now_ms)?;
    by_address(platform, address).await?;
    let LinkIn { link_token, provider, id_token, nonce, authorization_code } = body.0;
    let (asked, shown_now) = match (link_token, provider, id_token) {
        (Some(token), None, None) => (Some(challenge::token_hash(platform, token.expose())), None),
        (None, Some(provider), Some(id_token)) => {
            let shown = shown(provider, id_token, (nonce, authorization_code))?;
            (None, Some(federation.guest(caller.app_id, shown).await?))
        }
        (Some(_), _, _) => return Err(Error::invalid("link_token", "invalid", "says everything: leave the rest out")),
        (None, _, _) => return Err(Error::invalid("id_token", "required", "expected provider and id_token, or a link_token")),
    };
    let write = move |conn: &mut Conn| {
        let guest = match (shown_now, asked) {
            (Some(guest), _) => guest,
            (None, Some(hash)) => {
                let guest = waiting(conn, caller, (&hash, now_ms))?;
                // Sign-ins that ask again hold the account before they touch what was kept.
                link::hold(conn, caller, &guest)?;
                challenge::redeem(conn, (Some(caller.app_id), Kind::LinkIdentity), (&hash, now_ms))?.ok_or_else(unfit)?;
                guest
            }
            (None, None) => return Err(Error::broken("an identity out of nothing")),
        };
        link::link(conn, caller, &guest, now_ms)
    };
    let identity = accounts.write(caller.app_id, write).await?;
    Ok(HttpResponse::Created().json(IdentityOut::of(identity)))
}

/// The identity that was kept for this user.
fn waiting(conn: &mut Conn, caller: UserToken, token: (&str, i64)) -> Result<Guest> {
    let found = challenge::peek(conn, Kind::LinkIdentity, token)?.ok_or_else(unfit)?;
    // A refusal leaves it as it is: the one whom it is for may still come.
    if (found.app_id, found.user_id, found.mode) != (caller.app_id, Some(caller.user_id), caller.mode) {
        return Err(unfit());
    }
    serde_json::from_value(found.state).map_err(Error::broken)
}

fn unfit() -> Error {
    let detail = "The link token is unknown, was used, is too old, or is for another account: sign in with the provider again.";
    Problem::new(401, "invalid_link_token", detail).into()
}

/// Unlinks an identity; every other session of the user ends. The user has proven lately who they are.
///
/// # Errors
/// 400, 401, 404, 409 `last_way_in`.
#[utoipa::path(delete, path = "/v1/me/identities/{id}", tag = "auth", params(("id" = IdentityId, Path)),
    security(("user_token" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn delete(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    federation: web::Data<Federation>,
    path: web::Path<String>,
) -> Result<HttpResponse> {
    let id: IdentityId = path.parse().map_err(|e: crate::id::IdError| e.at("id"))?;
    let now_ms = accounts.platform().clock.now_ms();
    caller.need_fresh(now_ms)?;
    accounts.write(caller.app_id, move |conn| Ok(((), link::unlink(conn, caller, id, now_ms)?))).await?;
    federation.nudge();
    Ok(HttpResponse::NoContent().finish())
}

//! `/v1/identity-providers`: whose ID tokens an app takes.

use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody};
use crate::people::account::federation::provider::{AppleIds, NonceRule, PROVIDERS_MAX, Provider, Settings, Wanted};
use crate::people::account::federation::store;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// How an identity provider is set up.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IdentityProvider)]
pub struct ProviderIn {
    /// The exact `iss` of its tokens; known for `apple` and `google`.
    #[schema(max_length = 255, example = "https://login.example.com")]
    issuer: Option<String>,
    /// For whom tokens have to be issued: every client id of the app, at Apple its bundle ids and services ids.
    #[schema(min_items = 1, max_items = 50)]
    client_ids: Vec<String>,
    /// Where its keys are; when left out, where its discovery document says. Known for `apple` and `google`.
    jwks_uri: Option<String>,
    /// Domains whose mail is this issuer's own: only for those an address alone leads to an account that has proven it.
    #[serde(default)]
    #[schema(max_items = 50)]
    trusted_domains: Vec<String>,
    /// How the token's nonce goes with the one that the app says.
    #[serde(default)]
    nonce: NonceRule,
    /// Apple's key, with which tokens are taken back when an account is deleted.
    apple: Option<AppleIn>,
}

/// A key for Sign in with Apple.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppleIn {
    /// The team's id, 10 letters and digits.
    team_id: String,
    /// The key's id, 10 letters and digits.
    key_id: String,
    /// The text of the `.p8` file. Never shown again.
    #[schema(value_type = String)]
    key_p8: Secret,
}

/// An identity provider, without secrets.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProviderOut {
    /// `apple`, `google`, or the app's own name for it.
    provider: String,
    issuer: String,
    client_ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    trusted_domains: Vec<String>,
    nonce: NonceRule,
    #[serde(skip_serializing_if = "Option::is_none")]
    apple: Option<AppleIds>,
    updated_at: Time,
}

/// All identity providers of an app.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ProvidersOut {
    /// By name.
    items: Vec<ProviderOut>,
}

impl ProviderOut {
    fn of(provider: Provider) -> Self {
        let Provider { name, settings, updated_ms, .. } = provider;
        let Settings { issuer, client_ids, jwks_uri, trusted_domains, nonce, apple } = settings;
        Self { provider: name, issuer, client_ids, jwks_uri, trusted_domains, nonce, apple, updated_at: Time(updated_ms) }
    }
}

/// Sets up `apple`, `google` or, under a name of the app's own, any OpenID Connect provider, in place of what was there.
///
/// # Errors
/// 400, 401, 403, 409 when there are too many.
#[utoipa::path(put, path = "/v1/identity-providers/{provider}", tag = "auth", request_body = ProviderIn,
    params(("provider" = String, Path, description = "`apple`, `google`, or a name")), security(("server_key" = [])),
    responses((status = 200, body = ProviderOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn put(
    key: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<ProviderIn>,
) -> Result<HttpResponse> {
    key.need(Scope::AppWrite)?;
    let ProviderIn { issuer, client_ids, jwks_uri, trusted_domains, nonce, apple } = body.0;
    let (ids, key_p8) = match apple {
        Some(AppleIn { team_id, key_id, key_p8 }) => (Some(AppleIds { team_id, key_id }), Some(key_p8)),
        None => (None, None),
    };
    // Its issuer is checked, or filled in, with the rest.
    let settings = Settings { issuer: String::new(), client_ids, jwks_uri, trusted_domains, nonce, apple: ids };
    let wanted = Wanted { app_id: key.app_id, name: path.into_inner(), issuer, settings, key_p8 };
    let provider = Provider::new(&platform, wanted).await?;
    let stored = provider.clone();
    let write = move |conn: &mut Conn| {
        let all = store::providers(conn, stored.app_id)?;
        if all.len() >= PROVIDERS_MAX && all.iter().all(|other| other.name != stored.name) {
            return Err(Error::conflict("too_many_providers", format!("An app may have at most {PROVIDERS_MAX} of them.")));
        }
        store::put_provider(conn, &stored)
    };
    platform.store.write(write).await?;
    Ok(HttpResponse::Ok().json(ProviderOut::of(provider)))
}

/// Whose ID tokens the app takes.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/v1/identity-providers", tag = "auth", security(("server_key" = [])),
    responses((status = 200, body = ProvidersOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(key: BackOffice, platform: web::Data<Platform>) -> Result<HttpResponse> {
    key.need(Scope::AppRead)?;
    let all = platform.store.read(move |conn| store::providers(conn, key.app_id)).await?;
    Ok(HttpResponse::Ok().json(ProvidersOut { items: all.into_iter().map(ProviderOut::of).collect() }))
}

/// One identity provider, without secrets.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/identity-providers/{provider}", tag = "auth", security(("server_key" = [])),
    params(("provider" = String, Path, description = "`apple`, `google`, or a name")),
    responses((status = 200, body = ProviderOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn read(key: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    key.need(Scope::AppRead)?;
    let found = platform.store.read(move |conn| store::provider(conn, key.app_id, &path)).await?;
    let provider = found.ok_or_else(|| Error::not_found("identity provider"))?;
    Ok(HttpResponse::Ok().json(ProviderOut::of(provider)))
}

/// Takes no more ID tokens of a provider. Identities stay, and open something again once it is set up again.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/identity-providers/{provider}", tag = "auth", security(("server_key" = [])),
    params(("provider" = String, Path, description = "`apple`, `google`, or a name")),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(key: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    key.need(Scope::AppWrite)?;
    let write = move |conn: &mut Conn| {
        let gone = store::delete_provider(conn, key.app_id, &path)?;
        if gone { Ok(()) } else { Err(Error::not_found("identity provider")) }
    };
    platform.store.write(write).await?;
    Ok(HttpResponse::NoContent().finish())
}

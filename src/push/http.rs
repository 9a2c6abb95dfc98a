//! The routes of gateway credentials: stored, listed without their secrets, deleted.

use super::credentials::{self, NewCredential, Public};
use super::message::Gateway;
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, FreeJson, ProblemBody};
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// An APNs key.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApnsIn {
    /// In which of Apple's worlds the key is good.
    environment: Environment,
    /// The team's id, 10 letters and digits.
    team_id: String,
    /// The key's id, 10 letters and digits.
    key_id: String,
    /// The text of the `.p8` file. Never shown again.
    key_p8: String,
    /// The app's bundle ids; the first serves devices that did not say theirs.
    topics: Vec<String>,
}

/// A service account of Google's.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FcmIn {
    /// The key file's JSON. Never shown again.
    service_account: FreeJson,
}

/// A stored credential, without its secret.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CredentialOut {
    /// Whose gateway.
    gateway: Gateway,
    #[serde(flatten)]
    public: Public,
    /// When it was stored last.
    #[schema(value_type = Time)]
    updated_at: Time,
}

/// All stored credentials for a gateway.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CredentialsOut {
    /// One per environment.
    items: Vec<CredentialOut>,
}

/// Stores the app's APNs key for one environment, in place of the one that was there.
#[utoipa::path(put, path = "/v1/push-credentials/apns", tag = "push", request_body = ApnsIn,
    responses((status = 204, description = "Stored; the next push uses it"), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn put_apns(key: BackOffice, platform: web::Data<Platform>, body: Body<ApnsIn>) -> Result<HttpResponse> {
    key.need(Scope::CredentialsWrite)?;
    let ApnsIn { environment, team_id, key_id, key_p8, topics } = body.0;
    store(&key, &platform, NewCredential::apns(environment, (team_id, key_id), &key_p8, topics)?).await
}

/// Stores the app's Firebase service account, in place of the one that was there.
#[utoipa::path(put, path = "/v1/push-credentials/fcm", tag = "push", request_body = FcmIn,
    responses((status = 204, description = "Stored; the next push uses it"), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn put_fcm(key: BackOffice, platform: web::Data<Platform>, body: Body<FcmIn>) -> Result<HttpResponse> {
    key.need(Scope::CredentialsWrite)?;
    store(&key, &platform, NewCredential::fcm(body.0.service_account)?).await
}

async fn store(key: &BackOffice, platform: &web::Data<Platform>, new: NewCredential) -> Result<HttpResponse> {
    let (app, shared) = (key.app_id, platform.get_ref().clone());
    let put = move |conn: &mut Conn| credentials::put(conn, &shared, app, &new);
    platform.write_and_tell((credentials::CHANGED, app.to_string()), put).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What is stored for a gateway (`apns` or `fcm`), without the secrets.
#[utoipa::path(get, path = "/v1/push-credentials/{gateway}", tag = "push",
    params(("gateway" = String, Path, description = "`apns` or `fcm`")),
    responses((status = 200, body = CredentialsOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn read(key: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<CredentialsOut>> {
    key.need(Scope::CredentialsRead)?;
    let (app, gateway) = (key.app_id, gateway(&path)?);
    let rows = platform.store.read(move |conn| credentials::list(conn, app, gateway)).await?;
    if rows.is_empty() {
        return Err(Error::not_found("push credential"));
    }
    let item = |(public, updated_ms)| CredentialOut { gateway, public, updated_at: Time(updated_ms) };
    Ok(web::Json(CredentialsOut { items: rows.into_iter().map(item).collect() }))
}

/// Forgets what is stored for a gateway (`apns` or `fcm`): its messages end as `rejected` until there is a new one.
#[utoipa::path(delete, path = "/v1/push-credentials/{gateway}", tag = "push",
    params(("gateway" = String, Path, description = "`apns` or `fcm`")),
    responses((status = 204, description = "Forgotten"), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn delete(key: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    key.need(Scope::CredentialsWrite)?;
    let (app, gateway) = (key.app_id, gateway(&path)?);
    let delete = move |conn: &mut Conn| match credentials::delete(conn, app, gateway)? {
        true => Ok(()),
        false => Err(Error::not_found("push credential")),
    };
    platform.write_and_tell((credentials::CHANGED, app.to_string()), delete).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn gateway(word: &str) -> Result<Gateway> {
    Gateway::parse(word).ok_or_else(|| Error::not_found("gateway"))
}

//! The routes of gateway credentials: stored, listed without their secrets, deleted.

use super::credentials::{self, Known, NewCredential, Public, Which};
use super::dispatch::Dispatcher;
use super::message::Gateway;
use super::news;
use super::proof::{Asked, Finding};
use super::sending::Sending;
use super::warnings::Warning;
use super::webpush::credential::{self, VapidWish};
use crate::app::{BackOffice, PublishableKey, Scope};
use crate::cache::Budget;
use crate::clock::{MINUTE_MS, Time};
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::{Body, FreeJson, ProblemBody, Query, check_text};
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// So often may an app ask what gateways think of its credentials.
const TESTS_PER_MINUTE: u32 = 10;

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
    /// The bundle ids that this key pushes to, of all push types; the first serves devices that did not say theirs. Another
    /// key of the same environment that had one of them lets go of it, and goes when none is left.
    #[schema(min_items = 1, max_items = 400)]
    topics: Vec<String>,
}

/// A service account of Google's.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FcmIn {
    /// The key file's JSON. Never shown again.
    service_account: FreeJson,
}

/// What browsers' push services know an app by (VAPID).
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebPushIn {
    /// Whom a push service may write to: `mailto:ops@example.com` or `https://example.com/contact`.
    #[schema(max_length = 255)]
    subject: String,
    /// A key of your own to sign with from now on, on the curve P-256: 32 bytes in base64url, or PEM. Never shown again.
    /// Left out, one is made when there is none.
    #[schema(value_type = Option<String>, max_length = 2048)]
    private_key: Option<Secret>,
    /// Makes a new key in the place of the present one, which goes on signing for the subscriptions made with it. Pages
    /// have to subscribe again for the new one; ten keys are kept. Within a minute it is the same call again.
    #[serde(default)]
    rotate: bool,
}

/// With what pages subscribe.
#[derive(Serialize, utoipa::ToSchema)]
pub struct WebPushKeyOut {
    /// `applicationServerKey` of `pushManager.subscribe()`: 65 bytes in base64url.
    public_key: String,
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
    /// When the gateway took it last, to the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_at: Option<Time>,
    /// Since when the gateway refuses it: what would go out under it pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_since: Option<Time>,
    /// The gateway's word for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_reason: Option<String>,
    /// What somebody should look after.
    warnings: Vec<Warning>,
    /// How pushes go out under it from the node that answers, since some did.
    sending: Vec<Sending>,
}

impl CredentialOut {
    fn new(gateway: Gateway, (known, sending): (Known, Vec<Sending>), now_ms: i64) -> Self {
        Self {
            sending,
            warnings: news::warnings(gateway, &known, now_ms),
            gateway,
            public: known.public,
            updated_at: Time(known.updated_ms),
            proven_at: known.proven_ms.map(Time),
            refused_since: known.refused_ms.map(Time),
            refused_reason: known.refused_reason,
        }
    }
}

/// Which of a gateway's credentials.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichQuery {
    /// Only those of this world.
    environment: Option<Environment>,
    /// Apple: only this key.
    #[param(max_length = 10)]
    key_id: Option<String>,
}

/// What a gateway thinks of an app's credentials.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FindingsOut {
    /// One per credential, and per topic where there are topics.
    items: Vec<Finding>,
}

/// All stored credentials for a gateway.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CredentialsOut {
    /// One per environment, and per key where there are several.
    items: Vec<CredentialOut>,
}

/// Stores an APNs key of the app for one environment and some topics, in place of the one that these had.
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

/// Stores whom browsers' push services may write to, and makes the app's VAPID key, or takes one that is brought along.
#[utoipa::path(put, path = "/v1/push-credentials/webpush", tag = "push", request_body = WebPushIn,
    responses((status = 200, description = "Stored; with what pages subscribe from now on", body = WebPushKeyOut),
        (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn put_webpush(
    key: BackOffice,
    platform: web::Data<Platform>,
    body: Body<WebPushIn>,
) -> Result<web::Json<WebPushKeyOut>> {
    key.need(Scope::CredentialsWrite)?;
    let WebPushIn { subject, private_key, rotate } = body.0;
    let (app, shared, wish) = (key.app_id, platform.get_ref().clone(), VapidWish { subject, private_key, rotate });
    let put = move |conn: &mut Conn| credential::put_vapid(conn, &shared, app, wish);
    let public = platform.write_and_tell((credentials::CHANGED, app.to_string()), put).await?;
    Ok(web::Json(WebPushKeyOut { public_key: public.public_key.unwrap_or_default() }))
}

/// With what a page subscribes: `applicationServerKey`.
#[utoipa::path(get, path = "/v1/webpush/key", tag = "push",
    responses((status = 200, body = WebPushKeyOut), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
    security(("publishable_key" = [])))]
pub async fn webpush_key(key: PublishableKey, platform: web::Data<Platform>) -> Result<web::Json<WebPushKeyOut>> {
    let app = key.app_id;
    let found = platform.store.read(move |conn| credential::public_key(conn, app)).await?;
    let public_key = found.ok_or_else(|| Error::not_found("VAPID key"))?;
    Ok(web::Json(WebPushKeyOut { public_key }))
}

async fn store(key: &BackOffice, platform: &web::Data<Platform>, new: NewCredential) -> Result<HttpResponse> {
    let (app, shared) = (key.app_id, platform.get_ref().clone());
    let put = move |conn: &mut Conn| credentials::put(conn, &shared, app, &new);
    platform.write_and_tell((credentials::CHANGED, app.to_string()), put).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What is stored for a gateway (`apns`, `fcm` or `webpush`), without the secrets.
#[utoipa::path(get, path = "/v1/push-credentials/{gateway}", tag = "push",
    params(("gateway" = String, Path, description = "`apns`, `fcm` or `webpush`")),
    responses((status = 200, body = CredentialsOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn read(
    key: BackOffice,
    dispatcher: web::Data<Dispatcher>,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> Result<web::Json<CredentialsOut>> {
    key.need(Scope::CredentialsRead)?;
    let (app, gateway) = (key.app_id, gateway(&path)?);
    let rows = platform.store.read(move |conn| credentials::list(conn, app, gateway)).await?;
    if rows.is_empty() {
        return Err(Error::not_found("push credential"));
    }
    let now_ms = platform.clock.now_ms();
    let out = |known: Known| {
        let sending = dispatcher.sending((app, gateway), (known.public.environment, &known.key_id));
        CredentialOut::new(gateway, (known, sending), now_ms)
    };
    Ok(web::Json(CredentialsOut { items: rows.into_iter().map(out).collect() }))
}

/// Forgets what is stored for a gateway (`apns`, `fcm` or `webpush`), or a part of it: its messages end as `rejected` until
/// there is a new one.
#[utoipa::path(delete, path = "/v1/push-credentials/{gateway}", tag = "push",
    params(("gateway" = String, Path, description = "`apns`, `fcm` or `webpush`"), WhichQuery),
    responses((status = 204, description = "Forgotten"), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)),
    security(("server_key" = [])))]
pub async fn delete(
    key: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    Query(which): Query<WhichQuery>,
) -> Result<HttpResponse> {
    key.need(Scope::CredentialsWrite)?;
    let (app, gateway) = (key.app_id, gateway(&path)?);
    let which = Which { environment: which.environment, key_id: which.key_id };
    let delete = move |conn: &mut Conn| match credentials::delete(conn, app, (gateway, &which))? {
        true => Ok(()),
        false => Err(Error::not_found("push credential")),
    };
    platform.write_and_tell((credentials::CHANGED, app.to_string()), delete).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Asks the gateway itself (`apns` or `fcm`) what it thinks of the app's credentials. Nothing reaches a phone: Apple is sent a
/// push to a token that nobody has, Google a message that it checks and does not deliver. The keys for browsers (`webpush`)
/// are known to nobody but the subscriptions that were made with them: whether they sign is found out here, nobody is asked.
#[utoipa::path(post, path = "/v1/push-credentials/{gateway}/test", tag = "push", request_body = Asked,
    params(("gateway" = String, Path, description = "`apns`, `fcm` or `webpush`")),
    responses((status = 200, body = FindingsOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 429, body = ProblemBody, description = "`too_many_tests`: ten in a minute")),
    security(("server_key" = [])))]
pub async fn test(
    key: BackOffice,
    dispatcher: web::Data<Dispatcher>,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<Asked>,
) -> Result<web::Json<FindingsOut>> {
    key.need(Scope::CredentialsWrite)?;
    let (app, gateway) = (key.app_id, gateway(&path)?);
    if let Some(topic) = &body.0.topic {
        check_text("topic", topic, 255)?;
    }
    let bucket = format!("credential_tests:{app}");
    let budget = Budget { bucket: &bucket, limit: TESTS_PER_MINUTE, window_ms: MINUTE_MS };
    if let Err(wait_ms) = platform.cache.take(budget, 1, platform.clock.now_ms()).await {
        let detail = format!("Credentials can be tested {TESTS_PER_MINUTE} times in a minute; wait before the next time.");
        let mut problem = Problem::new(429, "too_many_tests", detail);
        problem.retry_after_s = Some(u64::try_from(wait_ms.max(0)).unwrap_or(0).div_ceil(1_000).max(1));
        return Err(problem.into());
    }
    Ok(web::Json(FindingsOut { items: dispatcher.prove(app, gateway, body.0).await? }))
}

fn gateway(word: &str) -> Result<Gateway> {
    Gateway::parse(word).ok_or_else(|| Error::not_found("gateway"))
}

//! `/v1/me/devices` and `/v1/users/{id}/devices`: installations of the app and their push tokens.

use super::user_id;
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query};
use crate::id::{AppId, DeviceId, SessionId, UserId};
use crate::people::account::{self, UserToken};
use crate::people::check;
use crate::people::device::web::{Services, Subscription, SubscriptionKeys};
use crate::people::device::{self, Device, Environment, Platform as Os, PushPermission, Registration, TokenKind, Traits};
use crate::people::profile;
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// All that an app says of its installation; what is left out is forgotten.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceIn {
    platform: Os,
    /// The push token: hex of APNs, or the text of FCM. It is moved here from wherever it was.
    #[schema(value_type = Option<String>, max_length = 2048)]
    token: Option<Secret>,
    /// What kind of address the token is; `apns` with `ios`, `fcm_token` with `android` when left out. `fcm_fid` is a Firebase
    /// installation id. Apple gives calls, widgets and other kinds of push tokens of their own: each is an installation by
    /// itself, such as `phone-1.voip`, and gets pushes of its kind alone.
    token_kind: Option<TokenKind>,
    /// In the place of a token on `web`: what the page got of `pushManager.subscribe()`, made with the key of
    /// `GET /v1/webpush/key`. It is moved here from wherever it was.
    subscription: Option<Subscription>,
    /// With what words are sealed that neither Apple nor Google may read (`encrypted` of a push); made by the installation as
    /// a browser makes those of a subscription, RFC 8291. The private key never leaves it.
    encryption: Option<SubscriptionKeys>,
    /// Where the token is good; `production` when left out.
    #[serde(default)]
    environment: Environment,
    /// The app's bundle id; required with a token of APNs.
    topic: Option<String>,
    /// A language tag such as `de-CH`.
    locale: Option<String>,
    /// An IANA time zone such as `Europe/Zurich`.
    time_zone: Option<String>,
    /// What the operating system lets the app show; `not_determined` when left out.
    #[serde(default)]
    push_permission: PushPermission,
    #[schema(max_length = 64)]
    app_version: Option<String>,
}

/// A device. Its token is not shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Device)]
pub struct DeviceOut {
    id: DeviceId,
    installation_id: String,
    platform: Os,
    /// Whether pushes can be addressed to it.
    has_token: bool,
    /// Whether words can be sealed for it.
    encrypts: bool,
    /// What kind of address that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_kind: Option<TokenKind>,
    environment: Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    push_permission: PushPermission,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    created_at: Time,
    last_seen_at: Time,
}

impl From<Device> for DeviceOut {
    fn from(device: Device) -> Self {
        let Traits { platform, token, environment, topic, locale, time_zone, push_permission, app_version } = device.traits;
        Self {
            id: device.id,
            installation_id: device.installation_id,
            platform,
            has_token: token.is_some(),
            encrypts: token.as_deref().is_some_and(|token| platform == Os::Web || device::sealing_keys(token).is_some()),
            token_kind: token.and_then(|token| TokenKind::of(platform, &token)),
            environment,
            topic,
            locale,
            time_zone,
            push_permission,
            app_version,
            created_at: Time(device.created_ms),
            last_seen_at: Time(device.last_seen_ms),
        }
    }
}

impl DeviceIn {
    /// What it says, checked.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(in crate::people) fn traits(self, platform: &Platform) -> Result<Traits> {
        let token = match (self.platform, &self.token, &self.subscription) {
            (Os::Web, _, _) if self.token_kind.is_some() => {
                return Err(Error::invalid("token_kind", "invalid", "a browser has a `subscription`, which is of one kind only"));
            }
            (_, None, None) => None,
            (Os::Web, None, Some(subscription)) => {
                let services = Services::parse(&platform.config.webpush_hosts)?;
                Some(subscription.token(&services, platform.clock.now_ms())?)
            }
            (Os::Web, Some(_), _) => {
                return Err(Error::invalid("token", "invalid", "a browser has a `subscription` in the place of a token"));
            }
            (Os::Ios | Os::Android, _, Some(_)) => {
                return Err(Error::invalid("subscription", "invalid", "only the platform `web` has one; others have a `token`"));
            }
            (Os::Ios | Os::Android, Some(token), None) => Some(match self.token_kind {
                Some(kind) => kind.kept(self.platform, token.expose())?,
                None => token.expose().to_owned(),
            }),
        };
        let token = match (&self.encryption, token) {
            (Some(_), _) if self.platform == Os::Web => {
                return Err(Error::invalid("encryption", "invalid", "a browser's keys are in its `subscription`"));
            }
            (Some(_), None) => return Err(Error::invalid("encryption", "invalid", "goes with a `token`")),
            (Some(keys), Some(token)) => Some(device::with_keys(&token, keys)?),
            (None, token) => token,
        };
        let traits = Traits {
            platform: self.platform,
            token,
            environment: self.environment,
            topic: self.topic,
            locale: self.locale,
            time_zone: self.time_zone,
            push_permission: self.push_permission,
            app_version: self.app_version,
        };
        traits.checked()
    }
}

/// Who registers which installation.
struct Registrant {
    app: AppId,
    user: UserId,
    session: Option<SessionId>,
    installation_id: String,
}

async fn put(platform: &Platform, who: Registrant, body: DeviceIn) -> Result<HttpResponse> {
    check::installation("installation_id", &who.installation_id)?;
    let app = who.app;
    let registration = Registration {
        id: platform.ids.next(),
        user: who.user,
        installation_id: who.installation_id,
        session: who.session,
        traits: body.traits(platform)?,
        now_ms: platform.clock.now_ms(),
    };
    let write = move |conn: &mut Conn| {
        profile::person(conn, app, registration.user)?;
        if let Some(session) = registration.session {
            // A sign-out that ran in between would leave a token behind.
            account::keep_open(conn, app, session)?;
        }
        let done = device::register(conn, app, &registration)?;
        // Nothing that was meant for an earlier user may start once this is answered.
        let displaced = done.displaced.clone();
        Ok((done, Whose::Users(displaced)))
    };
    let done = platform.write_and_fence(app, write, |_| ()).await?;
    let mut response = if done.new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(DeviceOut::from(done.device)))
}

async fn page_of(platform: &Platform, app: AppId, user: UserId, page: PageQuery) -> Result<web::Json<Page<DeviceOut>>> {
    let (rows, after) = (page.rows()?, page.after().to_owned());
    let devices = platform.store.read(move |conn| {
        profile::person(conn, app, user)?;
        device::list(conn, app, user, (&after, rows))
    });
    Ok(web::Json(page.page(devices.await?, |device| device.id.to_string(), DeviceOut::from)?))
}

/// A path that can be no installation is the same 404 as one that nobody registered.
fn installation(path: web::Path<String>) -> Result<String> {
    let text = path.into_inner();
    check::installation("installation_id", &text).map_err(|_| Error::not_found("device"))?;
    Ok(text)
}

/// Lists one's own devices.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/devices", tag = "me", params(PageQuery), security(("user_token" = [])),
    responses((status = 200, body = Page<DeviceOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn list(
    caller: UserToken,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<DeviceOut>>> {
    page_of(&platform, caller.app_id, caller.user_id, page.0).await
}

/// Registers this installation for the user, and moves its token here: who used it before gets nothing on it any more.
///
/// # Errors
/// 400, 401, 409.
#[utoipa::path(put, path = "/v1/me/devices/{installation_id}", tag = "me", request_body = DeviceIn, security(("user_token" = [])),
    params(("installation_id" = String, Path, description = "Made by the phone: 1 to 100 of letters, digits, . _ : -")),
    responses((status = 200, body = DeviceOut), (status = 201, body = DeviceOut), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn register(
    caller: UserToken,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<DeviceIn>,
) -> Result<HttpResponse> {
    let who = Registrant {
        app: caller.app_id,
        user: caller.user_id,
        session: Some(caller.session_id),
        installation_id: path.into_inner(),
    };
    put(&platform, who, body.0).await
}

/// Reads one of one's own devices.
///
/// # Errors
/// 401, 404.
#[utoipa::path(get, path = "/v1/me/devices/{installation_id}", tag = "me", params(("installation_id" = String, Path)), security(("user_token" = [])),
    responses((status = 200, body = DeviceOut), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: UserToken, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<DeviceOut>> {
    let text = installation(path)?;
    let found = platform.store.read(move |conn| device::of_installation(conn, caller.app_id, caller.user_id, &text));
    Ok(web::Json(found.await?.into()))
}

/// Forgets one of one's own devices, and its token with it.
///
/// # Errors
/// 401, 404.
#[utoipa::path(delete, path = "/v1/me/devices/{installation_id}", tag = "me", params(("installation_id" = String, Path)), security(("user_token" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn forget(caller: UserToken, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    let text = installation(path)?;
    let write = move |conn: &mut Conn| {
        device::forget(conn, caller.app_id, caller.user_id, &text)?;
        Ok(((), Whose::Users(vec![caller.user_id])))
    };
    platform.write_and_fence(caller.app_id, write, |_| ()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Lists a user's devices.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/devices", tag = "users", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<DeviceOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn list_of_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<DeviceOut>>> {
    caller.need(Scope::UsersRead)?;
    page_of(&platform, caller.app_id, user_id(&path)?, page.0).await
}

/// Registers an installation for a user: moving in from another provider.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(put, path = "/v1/users/{id}/devices/{installation_id}", tag = "users", request_body = DeviceIn, security(("server_key" = [])),
    params(("id" = String, Path), ("installation_id" = String, Path, description = "1 to 100 of letters, digits, . _ : -")),
    responses((status = 200, body = DeviceOut), (status = 201, body = DeviceOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn register_for_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<DeviceIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let (user, installation_id) = path.into_inner();
    let who = Registrant { app: caller.app_id, user: user_id(&user)?, session: None, installation_id };
    put(&platform, who, body.0).await
}

//! Channels: made at Apple, found, deleted.

use super::channel_id;
use crate::app::{BackOffice, Mode, PublishableKey, Scope, bearer};
use crate::audit;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, given};
use crate::id::{AppId, BroadcastId, ChannelId};
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::push::Gateway;
use crate::push::activity::attributes_type;
use crate::push::channel::apple::{self, Answered, Ask, Refusal};
use crate::push::channel::store::{self, Channel, Life};
use crate::push::channel::{Channels, find, note};
use crate::push::route::Route;
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, web};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

/// Longest key of a channel, in characters.
const KEY_CHARS_MAX: usize = 100;

/// What Apple keeps for phones that are away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ChannelStorage)]
pub enum Storage {
    /// The latest broadcast, for eight hours at most.
    #[default]
    Latest,
    /// Nothing: who is away misses it. Apple lets more of these through.
    None,
}

/// The channel to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewChannel)]
pub struct ChannelIn {
    /// The app's own name for it, 1 to 100 of letters, digits, . _ : -
    key: String,
    /// Whose: `apns`, a broadcast channel of Apple's, when left out; `fcm`, a topic of Google's.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    gateway: Option<Gateway>,
    /// The type of the activities that listen to it.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 100)]
    attributes_type: Option<String>,
    /// The bundle id, for Apple; the first of the stored APNs key when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 255)]
    topic: Option<String>,
    /// In which of Apple's worlds; `production` when left out. Google has no other.
    #[serde(default)]
    environment: Environment,
    /// What the gateway keeps for phones that are away; `latest` when left out.
    #[serde(default)]
    storage: Storage,
    /// Whether the app on a phone may find it by its publishable key.
    #[serde(default)]
    public: bool,
}

/// A channel.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Channel)]
pub struct ChannelOut {
    id: ChannelId,
    key: String,
    gateway: Gateway,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    environment: Environment,
    storage: Storage,
    public: bool,
    /// Whether a test key has made it.
    test: bool,
    state: Life,
    /// What the app gives to `Activity.request(pushType: .channel(…))`.
    #[serde(skip_serializing_if = "Option::is_none")]
    apns_channel_id: Option<String>,
    /// What the app gives to `FirebaseMessaging.subscribeToTopic(…)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    fcm_topic: Option<String>,
    created_at: Time,
}

impl From<Channel> for ChannelOut {
    fn from(channel: Channel) -> Self {
        let (apns_channel_id, fcm_topic) = match channel.gateway {
            Gateway::Fcm => (None, channel.name),
            Gateway::Apns | Gateway::WebPush => (channel.name, None),
        };
        Self {
            id: channel.id,
            key: channel.key,
            gateway: channel.gateway,
            attributes_type: channel.attributes_type,
            topic: Some(channel.topic).filter(|topic| !topic.is_empty()),
            environment: channel.environment,
            storage: if channel.keeps_latest { Storage::Latest } else { Storage::None },
            public: channel.public,
            test: channel.test,
            state: channel.life,
            apns_channel_id,
            fcm_topic,
            created_at: Time(channel.created_ms),
        }
    }
}

/// Which channels to list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChannelQuery {
    /// Only the one with this key.
    key: Option<String>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Who may look for channels: the back office for all, the app on a phone for those that are public.
pub struct ChannelReader {
    app_id: AppId,
    phone: bool,
}

impl FromRequest for ChannelReader {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if bearer(request.headers()).is_none() {
            let key = PublishableKey::from_request(request, payload);
            return Box::pin(async move { key.await.map(|key| Self { app_id: key.app_id, phone: true }) });
        }
        let office = BackOffice::from_request(request, payload);
        Box::pin(async move {
            let office = office.await?;
            office.need(Scope::DecisionsRead)?;
            Ok(Self { app_id: office.app_id, phone: false })
        })
    }
}

/// Makes a channel: one of Apple's is made there before this is answered.
///
/// # Errors
/// 400, 401, 403, 409, 503.
#[utoipa::path(post, path = "/v1/channels", tag = "activities", request_body = ChannelIn, security(("server_key" = [])),
    responses((status = 201, body = ChannelOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn create(caller: BackOffice, channels: web::Data<Channels>, body: Body<ChannelIn>) -> Result<HttpResponse> {
    caller.need(Scope::PushWrite)?;
    let (platform, body, app) = (channels.platform(), body.0, caller.app_id);
    channel_key(&body.key)?;
    body.attributes_type.as_deref().map_or(Ok(()), |name| attributes_type("attributes_type", name))?;
    let test = caller.mode == Mode::Test;
    if test && platform.config.apns_url.is_empty() && body.environment == Environment::Production {
        return Err(Error::invalid("environment", "invalid", "a test key makes channels in the sandbox"));
    }
    let gateway = body.gateway.unwrap_or(Gateway::Apns);
    let route = Route { gateway, environment: body.environment, test, service: None };
    let none = || Error::conflict("no_credential", "Store a credential for this gateway and environment first.");
    if gateway != Gateway::Apns {
        check_topic(&body)?;
        channels.0.dispatcher.lane(app, route, None).await?.ok_or_else(none)?;
        let made = topic(platform, (app, test), body);
        audit::made(made.id);
        let noted = made.clone();
        platform.store.write(move |conn| note(conn, &noted)).await?;
        return Ok(HttpResponse::Created().json(ChannelOut::from(made)));
    }
    let lane = channels.0.dispatcher.lane(app, route, body.topic.as_deref()).await?.ok_or_else(none)?;
    let topics = lane.apple().map(|(client, _)| client.topics.clone()).unwrap_or_default();
    let topic = match body.topic {
        Some(topic) if !topics.contains(&topic) => {
            return Err(Error::invalid("topic", "invalid", "the stored APNs key is not for this bundle id"));
        }
        Some(topic) => topic,
        None => topics.first().cloned().ok_or_else(none)?,
    };
    let now_ms = platform.clock.now_ms();
    let made = Channel {
        app_id: app,
        id: platform.ids.next(),
        key: body.key,
        gateway,
        attributes_type: body.attributes_type,
        topic,
        environment: body.environment,
        test,
        keeps_latest: body.storage == Storage::Latest,
        public: body.public,
        life: Life::Creating,
        name: None,
        timestamp_s: 0,
        created_ms: now_ms,
        updated_ms: now_ms,
    };
    audit::made(made.id);
    let noted = made.clone();
    platform.store.write(move |conn| note(conn, &noted)).await?;
    let asked = (made.id.uuid(), platform.config.gateway_timeout_ms);
    let answered = apple::ask(&lane, &made, Ask::Create, asked).await;
    let name = match answered {
        Answered::Done(Some(name)) => Ok(name),
        Answered::Done(None) | Answered::Gone => Err(Refusal::Unknown("no_channel_id")),
        Answered::Refused(refusal) => Err(refusal),
    };
    let id = made.id;
    let written = platform.store.write(move |conn| match &name {
        Ok(name) => store::name(conn, (app, id), name, now_ms).and_then(|()| find(conn, app, id)).map(Ok),
        Err(refusal) => store::forget(conn, app, id).map(|()| Err(refusal.error())),
    });
    Ok(HttpResponse::Created().json(ChannelOut::from(written.await??)))
}

/// Lists the channels. With a publishable key: the public ones that phones can listen to.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/channels", tag = "activities", params(ChannelQuery), security(("server_key" = []), ("publishable_key" = [])),
    responses((status = 200, body = Page<ChannelOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: ChannelReader,
    channels: web::Data<Channels>,
    query: Query<ChannelQuery>,
) -> Result<web::Json<Page<ChannelOut>>> {
    let ChannelQuery { key, limit, cursor } = query.0;
    let page = PageQuery { limit, cursor };
    key.as_deref().map_or(Ok(()), channel_key)?;
    let (rows, after) = (page.rows()?, page.after().to_owned());
    let found = channels
        .platform()
        .store
        .read(move |conn| store::page(conn, caller.app_id, (&after, rows), (key.as_deref(), caller.phone)))
        .await?;
    Ok(web::Json(page.page(found, |channel| channel.id.to_string(), ChannelOut::from)?))
}

/// Shows one channel.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/channels/{id}", tag = "activities", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ChannelOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, channels: web::Data<Channels>, path: web::Path<String>) -> Result<web::Json<ChannelOut>> {
    caller.need(Scope::DecisionsRead)?;
    let (app, id) = (caller.app_id, channel_id(&path)?);
    let found = channels.platform().store.read(move |conn| find(conn, app, id)).await?;
    Ok(web::Json(found.into()))
}

/// Deletes a channel, one of Apple's there too: phones that listen to it hear nothing more. What waits to go out over it ends.
///
/// # Errors
/// 401, 403, 404, 409, 503: ask once more, the channel is `deleting` until Apple has said so.
#[utoipa::path(delete, path = "/v1/channels/{id}", tag = "activities", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn delete(caller: BackOffice, channels: web::Data<Channels>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::PushWrite)?;
    let (platform, app, id) = (channels.platform(), caller.app_id, channel_id(&path)?);
    let (now_ms, by_test_key) = (platform.clock.now_ms(), caller.mode == Mode::Test);
    let marked = platform.store.write(move |conn| {
        conn.serialise(&format!("channels:{app}"))?;
        let channel = find(conn, app, id)?;
        if by_test_key && !channel.test {
            return Err(Error::forbidden("A test key deletes channels that a test key has made."));
        }
        if channel.life == Life::Creating {
            return Err(Error::conflict("channel_not_live", "The channel is still being made; try again in a moment."));
        }
        store::stop(conn, (app, id), ("channel_deleted", now_ms))?;
        store::live(conn, (app, id), Life::Deleting, now_ms)?;
        Ok(channel)
    });
    let channel = marked.await?;
    let answered =
        match (channels.0.dispatcher.lane(app, channel.route(), Some(channel.topic.as_str())).await?, channel.name.clone()) {
            // Google knows a topic by those who have subscribed, and forgets it by itself.
            _ if channel.gateway == Gateway::Fcm => Answered::Gone,
            (Some(lane), Some(name)) => {
                let asked = (platform.ids.next::<BroadcastId>().uuid(), platform.config.gateway_timeout_ms);
                apple::ask(&lane, &channel, Ask::Delete(&name), asked).await
            }
            (None, Some(_)) => return Err(Error::conflict("no_credential", "Store an APNs key for this environment first.")),
            (_, None) => Answered::Gone,
        };
    if let Answered::Refused(refusal) = answered {
        return Err(refusal.error());
    }
    platform.store.write(move |conn| store::live(conn, (app, id), Life::Deleted, now_ms)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What Google's topics have none of.
fn check_topic(body: &ChannelIn) -> Result<()> {
    let none = |field: &str, is: bool, why: &str| if is { Err(Error::invalid(field, "invalid", why)) } else { Ok(()) };
    none("gateway", body.gateway == Some(Gateway::WebPush), "browsers have no channels: apns or fcm")?;
    none("topic", body.topic.is_some(), "a topic of Google's has no bundle id")?;
    none("environment", body.environment == Environment::Sandbox, "Google has no sandbox")
}

/// A topic of Google's: it is there as soon as somebody subscribes to its name.
fn topic(platform: &Platform, (app, test): (AppId, bool), body: ChannelIn) -> Channel {
    let (id, now_ms) = (platform.ids.next::<ChannelId>(), platform.clock.now_ms());
    Channel {
        app_id: app,
        id,
        key: body.key,
        gateway: Gateway::Fcm,
        attributes_type: body.attributes_type,
        topic: String::new(),
        environment: body.environment,
        test,
        keeps_latest: body.storage == Storage::Latest,
        public: body.public,
        life: Life::Live,
        name: Some(id.to_string()),
        timestamp_s: 0,
        created_ms: now_ms,
        updated_ms: now_ms,
    }
}

fn channel_key(key: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
    if (1..=KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(good) {
        return Ok(());
    }
    Err(Error::invalid("key", "invalid", format!("expected 1 to {KEY_CHARS_MAX} of letters, digits, . _ : -")))
}

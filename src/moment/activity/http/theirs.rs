//! `/v1/activities`: Live Activities that an app's own back end starts, updates and ends.

use super::activity_id;
use crate::app::{BackOffice, Mode as KeyMode, Scope};
use crate::campaign::Class;
use crate::clock::Time;
use crate::error::Result;
use crate::http::{Body, Page, PageQuery, ProblemBody, Query};
use crate::id::{ActivityId, ActivityUpdateId, ChannelId, DeviceId, UserId};
use crate::moment::activity::spec::{NewActivity, NewActivityUpdate, Plan};
use crate::moment::activity::store::{self, Activity};
use crate::moment::activity::{Sender, find, results_of};
use crate::moment::direct::Unknown;
use crate::moment::direct::http::idempotency_key;
use crate::moment::direct::results::ResultOut;
use crate::moment::live::Live;
use crate::people::device::activity::{Running, on_devices};
use crate::platform::Platform;
use crate::push::State as MessageState;
use crate::push::activity::Event;
use crate::store::{Conn, Doc};
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

/// Where an activity is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActivityState)]
pub enum State {
    /// It can be updated.
    Live,
    /// Its end was asked for, or it is longer ago than Apple shows one.
    Ended,
}

/// Where an activity is on one phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActivityDeviceState)]
pub enum OnDevice {
    /// Its start is on its way.
    Starting,
    /// Apple has taken its start; the phone has not said an update token.
    Started,
    /// Its update token is known.
    Running,
    /// The phone or Apple has said so, or Apple has taken its end.
    Ended,
    /// Its start did not get through, for this reason.
    Failed,
}

/// A Live Activity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activity)]
pub struct ActivityOut {
    id: ActivityId,
    attributes_type: String,
    state: State,
    /// Whether a test key is behind it: it goes to the stand-in or the sandbox only.
    test: bool,
    /// Absent when a phone has begun it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    /// The channel over which it is updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_id: Option<ChannelId>,
    created_at: Time,
    /// When no phone shows it any more, whatever happens.
    over_at: Time,
    /// When its end was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
    /// What came of its start for each user and device; in the answer to the start alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ResultOut>>,
    /// Entries of the list behind which there is nobody; in the answer to the start alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<Vec<Unknown>>,
}

/// An activity on one phone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActivityDevice)]
pub struct OnDeviceOut {
    device_id: DeviceId,
    user_id: UserId,
    state: OnDevice,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When the phone said its update token last.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

/// An update and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActivityUpdate)]
pub struct UpdateOut {
    id: ActivityUpdateId,
    activity_id: ActivityId,
    event: Event,
    created_at: Time,
    /// What came of it for each user and device on which it runs; `queued` where the phone's update token is awaited.
    results: Vec<ResultOut>,
}

impl ActivityOut {
    fn new(row: Activity, now_ms: i64) -> Self {
        let over = row.ended_ms.is_some() || row.over_ms <= now_ms;
        let (purpose, class, topic, category) = match row.spec {
            Some(Doc(Plan { purpose, class, topic, category, .. })) => (Some(purpose), Some(class), topic, category),
            None => (None, None, None, None),
        };
        Self {
            id: row.id,
            attributes_type: row.attributes_type,
            state: if over { State::Ended } else { State::Live },
            test: row.test,
            purpose,
            class,
            topic,
            category,
            channel_id: row.channel_id,
            created_at: Time(row.created_ms),
            over_at: Time(row.over_ms),
            ended_at: row.ended_ms.map(Time),
            results: None,
            unknown: None,
        }
    }
}

impl OnDeviceOut {
    fn new(running: Running, started: Option<&Fate>, ended: Option<&Fate>) -> Self {
        let over = running.ended_ms.is_some() || ended.is_some_and(|(state, _)| *state == MessageState::Accepted);
        let state = match started.map(|(state, _)| *state) {
            _ if over => OnDevice::Ended,
            _ if running.token.is_some() => OnDevice::Running,
            Some(MessageState::Queued | MessageState::Sending | MessageState::RetryAt) => OnDevice::Starting,
            Some(state) if !state.counts() => OnDevice::Failed,
            Some(_) | None => OnDevice::Started,
        };
        let reason = started.and_then(|(_, reason)| reason.clone()).filter(|_| state == OnDevice::Failed);
        let Running { device_id, user_id, token_ms, ended_ms, .. } = running;
        Self { device_id, user_id, state, reason, token_at: token_ms.map(Time), ended_at: ended_ms.map(Time) }
    }
}

type Fate = (MessageState, Option<String>);

/// Starts a Live Activity for a list of users or devices. Each user passes the gates of every direct push, and each decision
/// is stored with its reason. It goes to iPhones whose app has said a start token for this type. Its attributes get
/// `kairos_activity_id`, by which the app says later to which token its updates go.
///
/// # Errors
/// 400, 401, 403, 422 when the `Idempotency-Key` came with another body.
#[utoipa::path(post, path = "/v1/activities", tag = "activities", request_body = NewActivity, security(("server_key" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body answer the same activity.")),
    responses((status = 202, body = ActivityOut, headers(("Location" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 422, body = ProblemBody)))]
pub async fn create(
    caller: BackOffice,
    (platform, live): (web::Data<Platform>, web::Data<Live>),
    request: HttpRequest,
    body: Body<NewActivity>,
) -> Result<HttpResponse> {
    let (row, unknown) = live.begin(sender(&caller, &request)?, body.0).await?;
    let (app, id, now_ms) = (caller.app_id, row.id, platform.clock.now_ms());
    let results = platform.store.read(move |conn| results_of(conn, app, id.uuid().into())).await?;
    let out = ActivityOut { results: Some(results), unknown: Some(unknown), ..ActivityOut::new(row, now_ms) };
    Ok(HttpResponse::Accepted().insert_header((LOCATION, format!("/v1/activities/{id}"))).json(out))
}

/// Lists Live Activities, the newest first.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/activities", tag = "activities", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<ActivityOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<ActivityOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let (rows, before, app, now_ms) = (page.0.rows()?, page.0.after().to_owned(), caller.app_id, platform.clock.now_ms());
    let found = platform.store.read(move |conn| store::page(conn, app, (&before, rows))).await?;
    Ok(web::Json(page.0.page(found, |row| row.id.to_string(), |row| ActivityOut::new(row, now_ms))?))
}

/// Shows one Live Activity.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/activities/{id}", tag = "activities", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ActivityOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<ActivityOut>> {
    caller.need(Scope::DecisionsRead)?;
    let (app, id, now_ms) = (caller.app_id, activity_id(&path)?, platform.clock.now_ms());
    let row = platform.store.read(move |conn| find(conn, app, id)).await?;
    Ok(web::Json(ActivityOut::new(row, now_ms)))
}

/// Where an activity is on each phone, in the order of devices, until it is over for good.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/activities/{id}/devices", tag = "activities", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<OnDeviceOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn devices(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<OnDeviceOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let (app, id, rows, after) = (caller.app_id, activity_id(&path)?, page.0.rows()?, page.0.after().to_owned());
    let read = move |conn: &mut Conn| {
        let row = find(conn, app, id)?;
        let started = store::fates(conn, app, (id, id.uuid().into()))?;
        let ended = row.end_id.map(|end| store::fates(conn, app, (id, end.uuid().into()))).transpose()?.unwrap_or_default();
        let all = on_devices(conn, app, id, (&after, rows))?.into_iter();
        let out = all.map(|one| (started.get(&one.device_id), ended.get(&one.device_id), one));
        Ok(out.map(|(started, ended, one)| OnDeviceOut::new(one, started, ended)).collect())
    };
    let found: Vec<OnDeviceOut> = platform.store.read(read).await?;
    Ok(web::Json(page.0.page(found, |one| one.device_id.to_string(), |one| one)?))
}

/// Updates or ends a Live Activity on every phone that shows it. The newest state takes the place of those that wait. It
/// needs the consent that the start needed; pause, quiet hours and caps do not hold it, but in quiet time it comes without
/// its alert.
///
/// # Errors
/// 400, 401, 403, 404, 409 `activity_over`, `updated_over_channel`, 422 when the `Idempotency-Key` came with another body,
/// 429 `too_many_updates`.
#[utoipa::path(post, path = "/v1/activities/{id}/updates", tag = "activities", request_body = NewActivityUpdate, security(("server_key" = [])),
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "The same key and body answer the same update.")),
    responses((status = 202, body = UpdateOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn update(
    caller: BackOffice,
    (platform, live): (web::Data<Platform>, web::Data<Live>),
    (path, request): (web::Path<String>, HttpRequest),
    body: Body<NewActivityUpdate>,
) -> Result<HttpResponse> {
    let sender = sender(&caller, &request)?;
    let (app, activity_id) = (caller.app_id, activity_id(&path)?);
    let row = live.update(sender, activity_id, body.0).await?;
    let (id, created_at) = (row.id, Time(row.created_ms));
    let results = platform.store.read(move |conn| results_of(conn, app, id.uuid().into())).await?;
    let event = Event::named(&row.event).unwrap_or(Event::Update);
    Ok(HttpResponse::Accepted().json(UpdateOut { id, activity_id: row.activity_id, event, created_at, results }))
}

fn sender(caller: &BackOffice, request: &HttpRequest) -> Result<Sender> {
    caller.need(Scope::PushWrite)?;
    Ok(Sender { app: caller.app_id, test: caller.mode == KeyMode::Test, key: idempotency_key(request)? })
}

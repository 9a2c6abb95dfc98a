//! Broadcasts: stored when they are answered, read to see what became of them.

use super::channel_id;
use crate::app::{self, BackOffice, Scope};
use crate::audit;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, FreeJson, Page, PageQuery, ProblemBody, Query, given};
use crate::id::{BroadcastId, ChannelId};
use crate::push::activity::{Alert, Event, FrameIn};
use crate::push::channel::broadcast::{Broadcast, NewBroadcast};
use crate::push::channel::{Channels, broadcast, find, find_broadcast, store};
use crate::push::message::{Attempt, Mode, State};
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Longest `Idempotency-Key`, in characters.
const KEY_CHARS_MAX: usize = 255;

/// What to broadcast. A broadcast starts no activity: a push-to-start or the app itself does, and names the channel.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBroadcast)]
pub struct BroadcastIn {
    /// `update` or `end`.
    event: Event,
    /// What the app's `ContentState` decodes.
    content_state: FreeJson,
    /// From when on the state is out of date; at most a day ahead.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    stale_at: Option<Time>,
    /// For the end: when it leaves the lock screen, at most four hours ahead. A time that has passed takes it away at once.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    dismissal_at: Option<Time>,
    /// Which of several activities is shown first.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1000)]
    relevance_score: Option<f64>,
    /// What is said aloud along with it.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    alert: Option<Alert>,
    /// 10: at once, out of an hourly budget that each phone has; 5: may wait, and costs none; 1: does not wake the phone.
    /// When left out, 10 with an alert and at the end, else 5.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    priority: Option<i64>,
    /// Not after this time, eight hours ahead at most; when left out, `stale_at`, else an hour from now.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    deliver_by: Option<Time>,
    /// What to do when nobody knows whether Apple has taken it; `at_most_once` when left out. Sent again, an update shows
    /// the same once more, and an alert may sound twice.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    mode: Option<Mode>,
}

/// A broadcast and what became of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Broadcast)]
pub struct BroadcastOut {
    id: BroadcastId,
    channel_id: ChannelId,
    event: Event,
    priority: i64,
    mode: Mode,
    /// `queued`, `sending`, `retry_at`, `accepted`, `rejected`, `expired`, `cancelled`, `unknown`.
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempts: Vec<BroadcastAttemptOut>,
    /// The size of the payload; Apple takes 5120 bytes.
    payload_bytes: usize,
    deadline: Time,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

/// One hand-over, or the try of one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BroadcastAttempt)]
pub struct BroadcastAttemptOut {
    n: i64,
    started_at: Time,
    ended_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<Attempt> for BroadcastAttemptOut {
    fn from(attempt: Attempt) -> Self {
        let Attempt { n, started_ms, ended_ms, status, reason } = attempt;
        Self { n, started_at: Time(started_ms), ended_at: Time(ended_ms), status, reason }
    }
}

impl From<Broadcast> for BroadcastOut {
    fn from(broadcast: Broadcast) -> Self {
        Self {
            id: broadcast.id,
            channel_id: broadcast.channel_id,
            event: broadcast.event,
            priority: broadcast.priority,
            mode: broadcast.mode,
            state: broadcast.state,
            reason: broadcast.reason,
            attempts: broadcast.attempts.into_iter().map(BroadcastAttemptOut::from).collect(),
            payload_bytes: broadcast.payload.len(),
            deadline: Time(broadcast.deadline_ms),
            created_at: Time(broadcast.created_ms),
            ended_at: broadcast.ended_ms.map(Time),
        }
    }
}

/// Broadcasts over a channel: one push that every phone gets which listens to it. It is stored when this is answered; read
/// it to see what became of it. A newer one takes the place of those of the same channel that wait.
///
/// # Errors
/// 400, 401, 403, 404, 409, 422 when the `Idempotency-Key` came with another body, 429.
#[utoipa::path(post, path = "/v1/channels/{id}/broadcasts", tag = "activities", request_body = BroadcastIn, security(("server_key" = [])),
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "The same key and body answer the same broadcast.")),
    responses((status = 202, body = BroadcastOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn send(
    caller: BackOffice,
    channels: web::Data<Channels>,
    (path, request): (web::Path<String>, HttpRequest),
    body: Body<BroadcastIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::PushWrite)?;
    let (platform, app, channel_id) = (channels.platform(), caller.app_id, channel_id(&path)?);
    let (now_ms, test) = (platform.clock.now_ms(), caller.mode == app::Mode::Test);
    let key_hash = idempotency_key(&request)?
        .map(|key| platform.master_key.derive_hex("idempotency key", format!("{app}|{test}|broadcasts|{key}").as_bytes()));
    let text = serde_json::to_string(&body.0).map_err(Error::broken)?;
    let body_hash = platform.master_key.derive_hex("broadcast", format!("{channel_id}|{text}").as_bytes());
    let BroadcastIn { event, content_state, stale_at, dismissal_at, relevance_score, alert, priority, deliver_by, mode } = body.0;
    if event == Event::Start {
        return Err(Error::invalid("event", "invalid", "a broadcast starts no activity: update or end"));
    }
    let usual = if alert.is_some() || event == Event::End { 10 } else { 5 };
    let priority = priority.unwrap_or(usual);
    if ![1, 5, 10].contains(&priority) {
        return Err(Error::invalid("priority", "invalid", "must be 1, 5 or 10"));
    }
    let frame = FrameIn { content_state, stale_at, dismissal_at, relevance_score, alert };
    let new = NewBroadcast {
        app_id: app,
        id: platform.ids.next(),
        channel_id,
        test,
        event,
        frame: frame.checked(event, now_ms)?,
        priority,
        deliver_by,
        mode: mode.unwrap_or(Mode::AtMostOnce),
        key_hash,
        body_hash,
        now_ms,
    };
    let (stored, fresh) = platform.store.write(move |conn| broadcast(conn, &new)).await?;
    if fresh {
        audit::made(stored.id);
        channels.0.hint.nudge();
    }
    Ok(HttpResponse::Accepted().json(BroadcastOut::from(stored)))
}

/// Lists what went out over a channel in the last 30 days, the oldest first.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/channels/{id}/broadcasts", tag = "activities", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<BroadcastOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn list_broadcasts(
    caller: BackOffice,
    channels: web::Data<Channels>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<BroadcastOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let (app, id, rows, after) = (caller.app_id, channel_id(&path)?, page.0.rows()?, page.0.after().to_owned());
    let read = move |conn: &mut Conn| {
        find(conn, app, id)?;
        store::of_channel(conn, (app, id), (&after, rows))
    };
    let found = channels.platform().store.read(read).await?;
    Ok(web::Json(page.0.page(found, |broadcast| broadcast.id.to_string(), BroadcastOut::from)?))
}

/// Shows one broadcast and what became of it.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/channels/{id}/broadcasts/{broadcast}", tag = "activities", params(("id" = String, Path), ("broadcast" = String, Path)),
    security(("server_key" = [])),
    responses((status = 200, body = BroadcastOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read_broadcast(
    caller: BackOffice,
    channels: web::Data<Channels>,
    path: web::Path<(String, String)>,
) -> Result<web::Json<BroadcastOut>> {
    caller.need(Scope::DecisionsRead)?;
    let (app, channel) = (caller.app_id, channel_id(&path.0)?);
    let id: BroadcastId = path.1.parse().map_err(|_| Error::not_found("broadcast"))?;
    let found = channels.platform().store.read(move |conn| find_broadcast(conn, app, (channel, id))).await?;
    Ok(web::Json(found.into()))
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    let key = value.to_str().unwrap_or("").trim();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        let message = format!("expected 1 to {KEY_CHARS_MAX} visible characters");
        return Err(Error::invalid("Idempotency-Key", "invalid", message));
    }
    Ok(Some(key.to_owned()))
}

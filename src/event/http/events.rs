//! `/v1/events`: facts in, and what became of them.

use super::caller::EventCaller;
use crate::app::{BackOffice, Mode, Scope, count_events};
use crate::clock::Time;
use crate::error::{Error, FieldError, Result};
use crate::event::item::Item;
use crate::event::log::{Batch, Log, Outcome};
use crate::event::{self, Disposition, Event, ItemIn, Location, Schemas};
use crate::http::{Body, FreeJson, ProblemBody};
use crate::id::{DecisionId, DeviceId, EventId, PartnerId, PlaceId, ThingId, UserId};
use crate::platform::Platform;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Events to record; each is judged on its own.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsIn {
    /// At most `events_per_call_limit`, 1,000 by default.
    #[schema(value_type = Vec<ItemIn>, min_items = 1, max_items = 1000)]
    events: Vec<Box<RawValue>>,
}

/// What became of each event, in the order sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EventsOut {
    results: Vec<ResultOut>,
}

/// What became of one event.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = EventResult)]
pub struct ResultOut {
    /// The sender's id, where one could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    status: Status,
    /// Our id of the event, or of the first one with the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// How an event was taken.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventStatus)]
pub enum Status {
    /// It is on disk.
    Accepted,
    /// It was on disk already.
    Duplicate,
    /// Another event with the same id is; this one has no effect.
    Conflict,
    /// It was not recorded: see `errors`.
    Invalid,
}

/// An event and what became of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub struct EventOut {
    id: EventId,
    /// The sender's own id.
    external_id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    occurred_at: Time,
    received_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_id: Option<ThingId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_id: Option<PartnerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<PlaceId>,
    /// The event from which this one was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause_id: Option<EventId>,
    properties: FreeJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
    /// Whether it was sent with a test key, or derived from such an event: its messages are tests.
    test: bool,
    /// Absent while it waits to be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<Disposition>,
    decision_ids: Vec<DecisionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<Time>,
}

/// Records events. The answer comes when they are on disk; one bad event never sinks its neighbours. Each counts as a
/// request of its key.
///
/// What is sent with a test key opens moments of its own, whose messages go to the stand-in or the sandbox and count in no
/// cap and no stock. It changes nothing that is known of a thing, and moves nobody on the live map.
///
/// # Errors
/// 400 when the body as a whole cannot be read, 401, 403, 413, 429, 503.
#[utoipa::path(post, path = "/v1/events", tag = "events", request_body = EventsIn,
    security(("server_key" = []), ("publishable_key" = []), ("user_token" = []), ("partner_key" = [])),
    responses((status = 202, body = EventsOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 413, body = ProblemBody), (status = 429, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn create(
    caller: EventCaller,
    platform: web::Data<Platform>,
    (log, schemas): (web::Data<Log>, web::Data<Schemas>),
    request: HttpRequest,
    body: Body<EventsIn>,
) -> Result<HttpResponse> {
    let limit = platform.config.events_per_call_limit;
    let Body(EventsIn { events }) = body;
    if events.len() > limit {
        return Err(Error::invalid("events", "too_long", format!("at most {limit} events per call")));
    }
    count_events(&request, events.len()).await?;
    let subject = caller.subject();
    let parsed = events.iter().map(|raw| Item::parse(raw.get(), subject.as_ref())).collect();
    let parsed = schemas.check(caller.app_id, parsed).await?;
    let (mut results, mut good) = (Vec::with_capacity(parsed.len()), Vec::with_capacity(parsed.len()));
    for (item, raw) in parsed.into_iter().zip(&events) {
        let (id, status, errors) = match &item {
            Ok(item) => (Some(item.id().to_owned()), Status::Accepted, Vec::new()),
            Err(errors) => (id_of(raw), Status::Invalid, errors.clone()),
        };
        results.push(ResultOut { id, status, event_id: None, errors });
        good.extend(item);
    }
    let batch = Batch {
        app_id: caller.app_id,
        sender: caller.sender,
        test: caller.mode == Mode::Test,
        received_ms: platform.clock.now_ms(),
        items: good,
    };
    let outcomes = log.ingest(batch).await?;
    let taken = results.iter_mut().filter(|result| matches!(result.status, Status::Accepted));
    for (result, outcome) in taken.zip(outcomes) {
        (result.status, result.event_id, result.errors) = match outcome {
            Outcome::Accepted(id) => (Status::Accepted, Some(id), Vec::new()),
            Outcome::Duplicate(id) => (Status::Duplicate, Some(id), Vec::new()),
            Outcome::Conflict(id) => (Status::Conflict, Some(id), Vec::new()),
            Outcome::Refused(error) => (Status::Invalid, None, vec![error]),
        };
    }
    Ok(HttpResponse::Accepted().json(EventsOut { results }))
}

/// The id of an event that could not be taken, for the sender to find it again.
fn id_of(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    serde_json::from_str::<Id>(raw.get()).ok().map(|found| found.id).filter(|id| id.len() <= 400)
}

/// Reads an event, what became of it and the decisions that it led to.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = EventOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<EventOut>> {
    caller.need(Scope::EventsRead)?;
    let id: EventId = path.parse().map_err(|_| Error::not_found("event"))?;
    let found = platform.store.read(move |conn| event::load(conn, caller.app_id, &[id])).await?.remove(&id);
    found.map(|event| web::Json(event.into())).ok_or_else(|| Error::not_found("event"))
}

impl From<Event> for EventOut {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            external_id: event.external_id,
            source: event.source,
            kind: event.kind,
            occurred_at: Time(event.occurred_ms),
            received_at: Time(event.received_ms),
            subject: event.subject,
            user_id: event.user_id,
            thing_id: event.thing_id,
            device_id: event.device_id,
            partner_id: event.partner_id,
            place_id: event.place_id,
            cause_id: event.cause_id,
            properties: FreeJson(event.properties),
            location: event.location,
            test: event.test,
            disposition: event.disposition,
            decision_ids: event.decision_ids,
            settled_at: event.settled_ms.map(Time),
        }
    }
}

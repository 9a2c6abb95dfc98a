//! The courier: claims what is due, sends it, writes what came of it.
//!
//! A claim is a lease: what a crash leaves is due again when it ends, under the same id. Each endpoint has few places at
//! once, and one that fails has a single one, so that it holds up nobody else.

use super::message::{outgoing, send};
use super::results::{RESULTS, addressed};
use super::schedule::{FAILING_MAX_MS, Heard, Next, judge};
use super::store::{self, Attempt, Delivery, End, Endpoint};
use super::{Event, emit, retention};
use crate::clock::{DAY_MS, is_ahead};
use crate::error::Result;
use crate::id::{AppId, WebhookId};
use crate::outbound::guarded::Outgoing;
use crate::platform::Platform;
use crate::store::Conn;
use crate::worker::{Hint, Progress, Worker};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

/// Most requests at once: in all, of one app, to one endpoint.
const FLIGHTS_MAX: usize = 512;
const FLIGHTS_PER_APP: usize = 128;
const FLIGHTS_PER_ENDPOINT: usize = 8;
/// How much longer a lease is than a request may take, in milliseconds: time to write what came of it.
const LEASE_MARGIN_MS: i64 = 30_000;
/// How often to look for what has come, in the machine's time.
const POLL_MS: u64 = 500;

/// The workers of this room.
pub fn workers(platform: &Platform) -> [Worker; 2] {
    for outcome in ["delivered", "retry", "failed"] {
        count(outcome, 0);
    }
    let courier = Arc::new(Courier { platform: platform.clone(), bag: Mutex::default() });
    let sends = Worker::new("webhook", Hint::default(), POLL_MS, move || {
        let courier = Arc::clone(&courier);
        async move { courier.step().await }
    });
    [sends, retention::worker(platform)]
}

fn count(outcome: &'static str, n: u64) {
    metrics::counter!("kairos_webhook_deliveries_total", "outcome" => outcome).increment(n);
}

struct Courier {
    platform: Platform,
    bag: Mutex<Bag>,
}

/// What is on its way, and what has come back and is not written yet.
#[derive(Default)]
struct Bag {
    flights: JoinSet<Outcome>,
    places: HashMap<Id, (AppId, WebhookId)>,
    done: Vec<Outcome>,
}

/// What came of one attempt.
#[derive(Clone)]
struct Outcome {
    delivery: Delivery,
    at_ms: i64,
    duration_ms: i64,
    heard: Heard,
}

impl Bag {
    fn land(&mut self, joined: std::result::Result<(Id, Outcome), JoinError>) {
        match joined {
            Ok((id, outcome)) => {
                self.places.remove(&id);
                self.done.push(outcome);
            }
            // Its lease ends, and it is sent again.
            Err(error) => drop(self.places.remove(&error.id())),
        }
    }
}

/// How many places are taken, by those on their way and by those about to go.
struct Room {
    all: usize,
    of_apps: HashMap<AppId, usize>,
    of_endpoints: HashMap<WebhookId, usize>,
}

impl Room {
    fn beside(bag: &Bag) -> Self {
        let mut room = Self { all: bag.places.len(), of_apps: HashMap::new(), of_endpoints: HashMap::new() };
        for (app, webhook) in bag.places.values() {
            *room.of_apps.entry(*app).or_default() += 1;
            *room.of_endpoints.entry(*webhook).or_default() += 1;
        }
        room
    }

    /// Takes all places that an endpoint may have now.
    fn take(&mut self, endpoint: &Endpoint) -> usize {
        let of_app = self.of_apps.entry(endpoint.app_id).or_default();
        let of_endpoint = self.of_endpoints.get(&endpoint.id).copied().unwrap_or(0);
        let most = if endpoint.failing_since_ms.is_some() { 1 } else { FLIGHTS_PER_ENDPOINT };
        let left = [(FLIGHTS_MAX, self.all), (FLIGHTS_PER_APP, *of_app), (most, of_endpoint)];
        let taken = left.into_iter().map(|(most, now)| most.saturating_sub(now)).min().unwrap_or(0);
        self.all += taken;
        *of_app += taken;
        taken
    }
}

impl Courier {
    async fn step(&self) -> Result<Progress> {
        let mut bag = self.bag.lock().await;
        while let Some(joined) = bag.flights.try_join_next_with_id() {
            bag.land(joined);
        }
        let settled = self.settle(&mut bag).await?;
        let (claimed, next_due_ms) = self.claim(&mut bag).await?;
        if settled || claimed {
            return Ok(Progress::More);
        }
        if bag.flights.is_empty() {
            return Ok(next_due_ms.map_or(Progress::Idle, Progress::Until));
        }
        // Not longer: what comes meanwhile must not wait for an endpoint that does not answer.
        if let Ok(Some(joined)) = timeout(Duration::from_millis(POLL_MS), bag.flights.join_next_with_id()).await {
            bag.land(joined);
        }
        Ok(Progress::More)
    }

    /// Writes what has come back, all in one transaction.
    async fn settle(&self, bag: &mut Bag) -> Result<bool> {
        if bag.done.is_empty() {
            return Ok(false);
        }
        // Endpoints in one order everywhere, so that two nodes cannot lock each other out.
        bag.done.sort_by_key(|outcome| (outcome.delivery.app_id, outcome.delivery.webhook_id));
        let now_ms = self.platform.clock.now_ms();
        let judged: Vec<(Outcome, Next)> =
            bag.done.iter().map(|outcome| (outcome.clone(), judge(outcome.heard, outcome.delivery.tries, self.whim()))).collect();
        let outcomes: Vec<&'static str> = judged.iter().map(|(_, next)| word(next)).collect();
        self.platform.store.write(move |conn| judged.iter().try_for_each(|one| write_down(conn, one, now_ms))).await?;
        bag.done.clear();
        outcomes.into_iter().for_each(|outcome| count(outcome, 1));
        Ok(true)
    }

    /// Claims what is due as far as there is room, and sends it; answers whether there was any, and when the next is due.
    async fn claim(&self, bag: &mut Bag) -> Result<(bool, Option<i64>)> {
        let now_ms = self.platform.clock.now_ms();
        let (waiting, mut next_due_ms) = self.platform.store.read(move |conn| due(conn, now_ms)).await?;
        let (mut room, mut wanted) = (Room::beside(bag), Vec::new());
        for (at, endpoint) in waiting {
            let paused = endpoint.as_ref().and_then(|e| e.throttled_until_ms).filter(|ms| is_ahead(*ms, now_ms, DAY_MS));
            if let Some(until_ms) = paused {
                next_due_ms = Some(next_due_ms.map_or(until_ms, |due_ms: i64| due_ms.min(until_ms)));
                continue;
            }
            let places = endpoint.as_ref().map(|endpoint| room.take(endpoint));
            if places != Some(0) {
                wanted.push((at, places.unwrap_or(0)));
            }
        }
        if wanted.is_empty() {
            return Ok((false, next_due_ms));
        }
        let until_ms = now_ms + i64::try_from(self.platform.config.webhook_timeout_ms).unwrap_or(DAY_MS) + LEASE_MARGIN_MS;
        let claims = self.platform.store.write(move |conn| claim_all(conn, &wanted, (now_ms, until_ms))).await?;
        let mut any = false;
        for (endpoint, deliveries) in claims {
            for delivery in deliveries {
                let request = outgoing(&self.platform, &endpoint, (&delivery.id.to_string(), &delivery.body), delivery.user_id);
                let flight = bag.flights.spawn(fly(self.platform.clone(), delivery, request));
                bag.places.insert(flight.id(), (endpoint.app_id, endpoint.id));
                any = true;
            }
        }
        Ok((any, next_due_ms))
    }

    /// A number in [0, 1).
    fn whim(&self) -> f64 {
        f64::from(u32::from_le_bytes(self.platform.ids.bytes::<4>())) / (f64::from(u32::MAX) + 1.0)
    }
}

type At = (AppId, WebhookId);

/// Where something is due, with the endpoint if it is still there, and when the next is due elsewhere.
fn due(conn: &mut Conn, now_ms: i64) -> Result<(Vec<(At, Option<Endpoint>)>, Option<i64>)> {
    let (mut now, mut next_due_ms) = (Vec::new(), None::<i64>);
    for waiting in store::waiting(conn)? {
        let at = (waiting.app_id, waiting.webhook_id);
        if waiting.due_ms <= now_ms {
            now.push((at, store::by_id(conn, at.0, at.1)?));
        } else {
            next_due_ms = Some(next_due_ms.map_or(waiting.due_ms, |due_ms| due_ms.min(waiting.due_ms)));
        }
    }
    Ok((now, next_due_ms))
}

fn claim_all(conn: &mut Conn, wanted: &[(At, usize)], times: (i64, i64)) -> Result<Vec<(Endpoint, Vec<Delivery>)>> {
    let mut claims = Vec::new();
    for (at, places) in wanted {
        // Read again: it may have been changed, disabled or deleted since the look, or while an event was written for it.
        match store::by_id(conn, at.0, at.1)?.filter(|endpoint| endpoint.enabled) {
            Some(endpoint) => {
                let mut deliveries = store::claim(conn, *at, *places, times)?;
                for delivery in deliveries.iter_mut().filter(|delivery| delivery.event_type == RESULTS) {
                    delivery.body = addressed(conn, at.0, &delivery.body)?;
                }
                claims.push((endpoint, deliveries));
            }
            None => store::give_up(conn, *at, times.0)?,
        }
    }
    Ok(claims)
}

async fn fly(platform: Platform, delivery: Delivery, request: Result<Outgoing>) -> Outcome {
    let at_ms = platform.clock.now_ms();
    let (heard, duration_ms) = match request {
        Ok(request) => send(&platform, request).await,
        Err(error) => {
            tracing::error!(%error, webhook = %delivery.webhook_id, "a webhook's message cannot be made");
            (Heard { status: None, failure: Some("unreadable_secret"), asked_ms: None }, 0)
        }
    };
    Outcome { delivery, at_ms, duration_ms, heard }
}

fn word(next: &Next) -> &'static str {
    match next {
        Next::Delivered => "delivered",
        Next::Failed { again_ms: Some(_), .. } => "retry",
        Next::Failed { again_ms: None, .. } => "failed",
    }
}

fn write_down(conn: &mut Conn, (outcome, next): &(Outcome, Next), now_ms: i64) -> Result<()> {
    let Outcome { delivery, at_ms, duration_ms, heard } = outcome;
    let failure = heard.failure();
    let end = match next {
        Next::Delivered => End::Delivered,
        Next::Failed { again_ms: Some(pause_ms), .. } => End::Again { due_ms: now_ms + pause_ms },
        Next::Failed { again_ms: None, .. } => End::Failed { reason: failure.unwrap_or("unknown").to_owned() },
    };
    let failure = failure.map(str::to_owned);
    let attempt = Attempt { at_ms: *at_ms, status: heard.status, duration_ms: *duration_ms, failure };
    store::settle(conn, delivery, &attempt, (&end, now_ms))?;
    note(conn, delivery, next, now_ms)
}

/// Writes what an attempt says of its endpoint.
fn note(conn: &mut Conn, delivery: &Delivery, next: &Next, now_ms: i64) -> Result<()> {
    store::lock(conn, delivery.webhook_id)?;
    let Some(mut endpoint) = store::by_id(conn, delivery.app_id, delivery.webhook_id)? else { return Ok(()) };
    match next {
        Next::Delivered if endpoint.failing_since_ms.is_none() && endpoint.throttled_until_ms.is_none() => Ok(()),
        Next::Delivered => {
            endpoint.forgive();
            store::update(conn, &endpoint)
        }
        Next::Failed { throttle_ms, gone, .. } => {
            let since_ms = *endpoint.failing_since_ms.get_or_insert(now_ms);
            endpoint.throttled_until_ms = throttle_ms.map(|pause_ms| now_ms + pause_ms).max(endpoint.throttled_until_ms);
            let given_up = (now_ms - since_ms >= FAILING_MAX_MS).then_some("failing");
            match given_up.filter(|_| !gone).or(gone.then_some("gone")).filter(|_| endpoint.enabled) {
                Some(reason) => disable(conn, endpoint, (reason, now_ms)),
                None => store::update(conn, &endpoint),
            }
        }
    }
}

/// Sends nothing there any more, and tells the app so at its other endpoints.
fn disable(conn: &mut Conn, mut endpoint: Endpoint, (reason, now_ms): (&str, i64)) -> Result<()> {
    endpoint.switch_off(reason, now_ms);
    store::update(conn, &endpoint)?;
    store::give_up(conn, (endpoint.app_id, endpoint.id), now_ms)?;
    tracing::warn!(webhook = %endpoint.id, reason, "a webhook was disabled");
    let mut data = json!({ "webhook": endpoint.id, "reason": reason });
    if !endpoint.partner_id.is_empty() {
        data["partner"] = json!(endpoint.partner_id);
    }
    let once = format!("{}:{now_ms}", endpoint.id);
    emit(conn, endpoint.app_id, &Event { kind: "webhook.disabled", at_ms: now_ms, once, user: None, partner: None, data })
}

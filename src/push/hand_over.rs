//! The hand-over: the last check with the slot in hand, the request on the wire, and what became of it.

use super::apns;
use super::dispatch::Dispatcher;
use super::ending::{End, Held};
use super::flights::Aboard;
use super::lane::{Lane, Left};
use super::lanes::Found;
use super::pulse::Departure;
use super::route::Route;
use super::settle::{self, NO_CREDENTIAL, Outcome};
use super::store::Claimed;
use super::traffic::Ride;
use super::verdict::Verdict;
use crate::outbound::{Flying, HandOver, Slot};
use crate::planted::{Bug, planted};
use crate::platform::fence::Flight;
use crate::platform::stopwatch::Hop;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// After so many answers of a large batch the next ones are claimed, without waiting until these are settled.
const ROOM: usize = 250;

/// So many are handed over before others have their turn.
const BREATH: usize = 32;

/// A claimed message on its way to the hand-over.
pub(super) struct Ready {
    pub(super) claimed: Claimed,
    pub(super) aboard: Aboard,
    pub(super) slot: Option<Slot>,
    pub(super) flight: Flight,
    pub(super) lane: Option<Ride>,
}

/// A push that was handed over.
struct Airborne {
    claimed: Claimed,
    aboard: Aboard,
    lane: Ride,
    flying: Flying,
    bearer: HeaderValue,
    when: Departure,
}

impl Dispatcher {
    /// Hands over all of these, one after the other, without waiting for anything in between.
    pub(super) fn send(&self, sends: Vec<Ready>) {
        if sends.is_empty() {
            return;
        }
        let flying: FuturesUnordered<_> =
            sends.into_iter().filter_map(|ready| self.hand_over(ready)).map(|a| self.answer(a)).collect();
        if flying.is_empty() {
            return;
        }
        let me = self.clone();
        self.0.runtime.spawn(async move { me.hear(flying).await });
    }

    /// The same for a claim, with a pause after every few: an async thread is not held for as long as five hundred take.
    pub(super) async fn send_claim(self, sends: Vec<Ready>) {
        let mut flying = FuturesUnordered::new();
        for (n, ready) in sends.into_iter().enumerate() {
            if n > 0 && n.is_multiple_of(BREATH) {
                tokio::task::yield_now().await;
                while let Some(Some(outcome)) = flying.next().now_or_never() {
                    self.tell(outcome);
                }
            }
            flying.extend(self.hand_over(ready).map(|airborne| self.answer(airborne)));
        }
        self.hear(flying).await;
    }

    /// Waits for all answers, and tells what became of each as it comes.
    async fn hear(&self, mut flying: FuturesUnordered<impl Future<Output = Outcome>>) {
        let mut answers = 0_usize;
        while let Some(outcome) = flying.next().await {
            self.tell(outcome);
            answers += 1;
            if answers.is_multiple_of(ROOM) {
                self.0.platform.push_hint.nudge();
            }
        }
    }

    /// The last check and the hand-over, in one breath.
    fn hand_over(&self, ready: Ready) -> Option<Airborne> {
        let Ready { mut claimed, mut aboard, slot, flight, lane } = ready;
        aboard.underway();
        let clock = &self.0.platform.clock;
        let Some(lane) = lane else {
            self.tell_held((claimed, aboard), Held::Impossible(NO_CREDENTIAL));
            return None;
        };
        let Some(slot) = slot else {
            self.tell_held((claimed, aboard), Held::Slotless);
            return None;
        };
        let mut shown = None;
        let prepared = match lane.prepare(&mut claimed.push, clock.now_ms()) {
            Ok(prepared) => prepared,
            Err(held) => {
                self.tell_held((claimed, aboard), held);
                return None;
            }
        };
        let when = Departure::now(clock.now_ms());
        let result = slot.hand_over(|| {
            let now_ms = clock.now_ms();
            if now_ms >= claimed.push.deadline_ms && !planted(Bug::NoDeadlineCheck) {
                return Err(Held::Expired);
            }
            // Exactly the end of a consent no longer counts. The claim finds out whether another one has taken its place.
            let over = claimed.push.consent_until_ms.is_some_and(|at_ms| now_ms >= at_ms);
            if over && !planted(Bug::NoConsentCheck) || !flight.may_go() {
                return Err(Held::Fenced);
            }
            let (outgoing, bearer) = lane.request(&claimed.push, prepared, now_ms)?;
            shown = Some(bearer);
            Ok(outgoing)
        });
        drop(flight);
        match (result, shown) {
            (Ok(flying), Some(bearer)) => {
                self.0.platform.stopwatch.lap(Hop::HandedOver, [claimed.push.id.uuid()]);
                Some(Airborne { claimed, aboard, lane, flying, bearer, when })
            }
            (Err(HandOver::Refused(held)), _) => {
                self.tell_held((claimed, aboard), held);
                None
            }
            (Ok(_) | Err(HandOver::Closed), _) => {
                self.tell_held((claimed, aboard), Held::Slotless);
                None
            }
        }
    }

    fn answer(&self, airborne: Airborne) -> impl Future<Output = Outcome> + Send + use<> {
        let me = self.clone();
        // Its parts are used where they lie: taken apart first, the future would hold each of them twice.
        async move {
            let within = Duration::from_millis(me.config().gateway_timeout_ms);
            let result = airborne.flying.answer(within).await;
            let Airborne { claimed, aboard, lane, bearer, when, .. } = airborne;
            me.0.platform.stopwatch.lap(Hop::Answered, [claimed.push.id.uuid()]);
            let (user, token, activity, first) = (claimed.user_id, &claimed.push.token, claimed.activity, claimed.attempt == 1);
            let mut end = lane.heard(result, &Left { user, token, bearer: &bearer, activity, when, first });
            let gateway = lane.gateway;
            // Our key for the second host is refused: what the first one has said of the token stands.
            if claimed.was_unknown_elsewhere()
                && let End::Said { status, verdict: Verdict::Misconfigured(_) } = end
            {
                end = End::Said { status, verdict: Verdict::Rejected(apns::BAD_DEVICE_TOKEN.into()) };
            }
            if settle::is_accepted(&end) {
                let now_ms = me.0.platform.clock.now_ms();
                let latency_ms = (now_ms - when.at_ms).max(0);
                // What tests take is no forecast for live pushes.
                if !lane.test {
                    me.0.latency.note(gateway, now_ms, latency_ms);
                }
                #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 ms")]
                lane.accepted_after.record(latency_ms as f64 / 1_000.0);
            }
            let environment = Some(lane.environment).filter(|_| claimed.was_unknown_elsewhere() && settle::is_accepted(&end));
            // Rare: the room for it is not taken by every push in flight.
            let elsewhere = if lane.is_unknown(&end) { Box::pin(me.elsewhere(&claimed, &lane)).await } else { None };
            Outcome { claimed, gateway, end, aboard, elsewhere, environment }
        }
    }

    /// The route through Apple's other host, for a token that this one does not know: until one of them has taken a push
    /// to it, nobody knows in which world it is. Each message goes there once at most.
    async fn elsewhere(&self, claimed: &Claimed, lane: &Lane) -> Option<Route> {
        let route = lane.elsewhere(claimed)?;
        let Found::Lanes(lanes) = self.0.lanes.get(claimed.app_id, &route).await.ok()? else { return None };
        let takes = |lane: &Arc<Lane>| !lane.pulse.asks() && lane.may_send(claimed.push.topic.as_deref());
        lanes.iter().any(takes).then_some(route)
    }

    fn tell_held(&self, (claimed, aboard): (Claimed, Aboard), held: Held) {
        let (gateway, end) = (claimed.gateway, End::Held(held));
        self.tell(Outcome { claimed, gateway, end, aboard, elsewhere: None, environment: None });
    }

    fn tell(&self, outcome: Outcome) {
        // The settler lives as long as this sender: it cannot be gone.
        let _ = self.0.outcomes.send(outcome);
    }
}

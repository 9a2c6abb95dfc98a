//! A lane to a gateway: one app's credential, its connections, and what the gateway has said about them.

use super::edge::{Client, stands_in};
use super::ending::{End, Held};
use super::lanes::Serves;
use super::message::{Gateway, Push};
use super::news::Standing;
use super::pulse::{Departure, Pulse};
use super::route::Route;
use super::settle::is_unknown;
use super::store::Claimed;
use super::traffic::Traffic;
use super::verdict::{Reason, Verdict};
use super::{apns, fcm, sealing, webpush};
use crate::error::Result;
use crate::id::UserId;
use crate::outbound::{Answer, Loss, Outgoing, Pool, Slot};
use crate::people::device::{Environment, FID_PREFIX};
use crate::platform::Platform;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

/// One app's way to one gateway under one key.
pub(super) struct Lane {
    pub(super) gateway: Gateway,
    pub(super) environment: Environment,
    pub(super) test: bool,
    pub(super) service: Option<Arc<str>>,
    /// Whose messages go here.
    pub(super) serves: Serves,
    pub(super) standing: Standing,
    pub(super) pulse: Pulse,
    pool: Pool,
    client: Client,
    platform: Platform,
    pub(super) traffic: Traffic,
    /// When slots were asked for last, UTC milliseconds.
    taken_ms: AtomicI64,
    /// Since when it is there, UTC milliseconds.
    pub(super) opened_ms: i64,
    /// How long the gateway takes to accept a push, for the figures that the server shows of itself.
    pub(super) accepted_after: metrics::Histogram,
}

/// What a lane makes of a push before the last check, because it takes long: the encrypted body of a web push.
pub(super) type Prepared = Option<webpush::Sealed>;

/// A push that was handed over, as far as its end depends on it.
pub(super) struct Left<'a> {
    pub(super) user: UserId,
    pub(super) token: &'a str,
    pub(super) bearer: &'a HeaderValue,
    /// Whether its token is one of a Live Activity: these die all the time, which says nothing of our tokens' health.
    pub(super) activity: bool,
    pub(super) when: Departure,
    /// Whether it is the first attempt at its message.
    pub(super) first: bool,
}

impl Lane {
    /// A lane without connections yet.
    pub(super) fn new(
        platform: &Platform,
        route: &Route,
        (pool, client): (Pool, Client),
        (serves, standing, traffic): (Serves, Standing, Traffic),
    ) -> Self {
        let config = &platform.config;
        Self {
            gateway: route.gateway,
            environment: route.environment,
            test: route.test,
            service: route.service.clone(),
            serves,
            standing,
            pulse: Pulse::new(route.gateway, config.gateway_streams * config.gateway_connections),
            pool,
            client,
            platform: platform.clone(),
            traffic,
            taken_ms: AtomicI64::new(0),
            opened_ms: platform.clock.now_ms(),
            accepted_after: metrics::histogram!("kairos_push_latency_seconds", "gateway" => route.gateway.word()),
        }
    }

    /// How many messages are claimed for it and not answered yet.
    pub(super) fn in_flight(&self) -> usize {
        self.traffic.in_flight()
    }

    /// When slots were asked for last, UTC milliseconds.
    pub(super) fn taken_ms(&self) -> i64 {
        self.taken_ms.load(Ordering::Relaxed)
    }

    /// Up to `n` slots, for bulk or for what is not; fewer or none while connections or our own token are on their way, during
    /// a pause, or when the project's quota is used up. Slots that are not used are given back by [`Lane::give_back`].
    pub(super) fn take(&self, (n, bulk): (usize, bool), now_ms: i64) -> Vec<Slot> {
        self.taken_ms.store(now_ms, Ordering::Relaxed);
        self.pulse.unconnected(self.pool.failed(), now_ms);
        let gap = self.pulse.room((n, self.in_flight()), now_ms);
        if gap.free == 0 {
            return Vec::new();
        }
        let turn = self.traffic.turn(bulk, now_ms);
        let pooled = |n: usize| {
            self.pool.take_some(n.min(gap.free), |room| {
                self.pulse.has_slots(room.all);
                (turn.of(room.within(gap)), turn.way(room))
            })
        };
        match &self.client {
            Client::Apns { .. } | Client::WebPush(_) => pooled(n),
            Client::Fcm { client, quota } => {
                if self.fcm_bearer(client, now_ms).is_none() {
                    return Vec::new();
                }
                let granted = quota.take((n, bulk), now_ms);
                let slots = pooled(granted);
                quota.give_back(granted - slots.len());
                slots
            }
        }
    }

    /// So many slots were taken and are not used: the quota is not used either.
    pub(super) fn give_back(&self, unused: usize) {
        match &self.client {
            Client::Apns { .. } | Client::WebPush(_) => {}
            Client::Fcm { quota, .. } => quota.give_back(unused),
        }
    }

    /// Until when nothing is sent here, UTC milliseconds; `None` when there is no pause.
    pub(super) fn paused_until_ms(&self, now_ms: i64) -> Option<i64> {
        let token_ms = match &self.client {
            Client::Apns { .. } | Client::WebPush(_) => None,
            Client::Fcm { client, quota } => client.token.paused_until_ms(now_ms).max(quota.empty_until_ms(now_ms)),
        };
        token_ms.max(self.pulse.until_ms(now_ms))
    }

    /// Waits until a push may leave here, for our own token and a connection; false in a pause, and when they come too late.
    pub(super) async fn comes(&self, now_ms: i64, until: Instant) -> bool {
        let ours = match &self.client {
            _ if self.paused_until_ms(now_ms).is_some() => false,
            Client::Fcm { client, .. } => client.token.comes(now_ms, until).await,
            Client::Apns { .. } | Client::WebPush(_) => true,
        };
        ours && self.pool.slot(until).await.is_ok()
    }

    /// Apple's client and the way to where channels of broadcasts are made, on a lane to Apple.
    pub(super) fn apple(&self) -> Option<(&apns::Client, &Pool)> {
        match &self.client {
            Client::Apns { client, manage } => Some((client, manage)),
            Client::Fcm { .. } | Client::WebPush(_) => None,
        }
    }

    /// Google's client and the token that it shows now, on a lane to Google that has one.
    pub(super) fn google(&self, now_ms: i64) -> Option<(&fcm::Client, HeaderValue)> {
        match &self.client {
            Client::Fcm { client, .. } => Some((client, self.fcm_bearer(client, now_ms)?)),
            Client::Apns { .. } | Client::WebPush(_) => None,
        }
    }

    /// Now, by the domain's clock.
    pub(super) fn now_ms(&self) -> i64 {
        self.platform.clock.now_ms()
    }

    fn fcm_bearer(&self, client: &fcm::Client, now_ms: i64) -> Option<HeaderValue> {
        let hint = self.platform.push_hint.clone();
        let bearer = client.token.bearer(now_ms, move || hint.nudge());
        if bearer.is_none()
            && let Some(reason) = client.token.refused()
        {
            self.standing.refused(&reason, now_ms);
        }
        bearer
    }

    /// What takes long of a push's request: whatever is encrypted.
    pub(super) fn prepare(&self, push: &mut Push, now_ms: i64) -> Result<Prepared, Held> {
        let ids = &self.platform.ids;
        let fresh = || webpush::Fresh { private: ids.bytes(), salt: ids.bytes() };
        match &self.client {
            Client::Apns { .. } | Client::Fcm { .. } => {
                if let Some(payload) = sealing::seal(self.gateway, push, fresh).map_err(Held::Impossible)? {
                    push.payload = payload;
                }
                Ok(None)
            }
            Client::WebPush(client) => client.seal(push, &fresh(), now_ms).map(Some).map_err(Held::Impossible),
        }
    }

    /// The request for a push, as it has to look now, and the token that it shows.
    pub(super) fn request(&self, push: &Push, prepared: Prepared, now_ms: i64) -> Result<(Outgoing, HeaderValue), Held> {
        // Claimed before the refusal: it would fare the same.
        if self.pulse.is_refused(now_ms) {
            return Err(Held::Slotless);
        }
        match &self.client {
            Client::WebPush(client) => {
                let sealed = prepared.ok_or(Held::Slotless)?;
                client.request(push, sealed, now_ms).map_err(Held::Impossible)?.ok_or(Held::Expired)
            }
            Client::Apns { client, .. } => client.request(push, now_ms).map_err(Held::Impossible),
            Client::Fcm { client, .. } => {
                let bearer = self.fcm_bearer(client, now_ms).ok_or(Held::Slotless)?;
                client.request(push, &bearer, now_ms).map(|outgoing| (outgoing, bearer)).map_err(Held::Impossible)
            }
        }
    }

    /// What became of a push, and what follows from it for the pushes after it.
    pub(super) fn heard(&self, result: Result<Answer, Loss>, left: &Left<'_>) -> End {
        let &Left { user, token, bearer, activity, when: when @ Departure { at_ms: handed_over_ms, .. }, first } = left;
        let end = self.heard_as(result, (bearer, when), |answer, now_ms| match &self.client {
            Client::Apns { .. } => apns::judge(answer, now_ms),
            Client::Fcm { .. } => match fcm::judge(answer, handed_over_ms, now_ms) {
                // An installation's id that nobody has, in no words of FCM's own: that is no word on the project.
                Verdict::Misconfigured(reason) if answer.status == StatusCode::NOT_FOUND && token.starts_with(FID_PREFIX) => {
                    Verdict::Rejected(reason)
                }
                verdict => verdict,
            },
            Client::WebPush(client) => client.heard(answer, ((user, first), bearer), (handed_over_ms, now_ms)),
        });
        match end {
            End::Said { .. } if activity => end,
            End::Said { status, verdict } => {
                End::Said { status, verdict: self.of_token((status, verdict), user, handed_over_ms) }
            }
            End::Lost(_) | End::Held(_) => end,
        }
    }

    /// The same of what shows no device's token, by another table of answers: it says nothing of our tokens' health.
    pub(super) fn heard_as(
        &self,
        result: Result<Answer, Loss>,
        (bearer, when): (&HeaderValue, Departure),
        judge: impl FnOnce(&Answer, i64) -> Verdict,
    ) -> End {
        let answer = match result {
            Ok(answer) => answer,
            Err(loss) => {
                self.pulse.lost(&loss, when, self.now_ms());
                return End::Lost(loss);
            }
        };
        let (status, now_ms) = (answer.status.as_u16(), self.now_ms());
        let verdict = match judge(&answer, now_ms) {
            // One topic of a key: the others must not wait for it.
            Verdict::Misconfigured(reason) if reason == apns::TOPIC_DISALLOWED => {
                self.standing.refused(&reason, now_ms);
                Verdict::Rejected(reason)
            }
            verdict => verdict,
        };
        self.pulse.answered((status, &verdict), when, now_ms);
        let verdict = match &self.client {
            Client::Apns { client, .. } => {
                match &verdict {
                    Verdict::Accepted => client.token.proven(),
                    Verdict::Hold(_) => client.token.hold(now_ms),
                    _ => {}
                }
                self.renewed(verdict, || client.token.renew(bearer, now_ms))
            }
            Client::Fcm { client, quota } => {
                match &verdict {
                    Verdict::Accepted => {
                        client.token.proven();
                        quota.accepted();
                    }
                    Verdict::Later { after_ms, .. } if status == 429 => quota.exceeded(*after_ms, now_ms),
                    _ => {}
                }
                self.renewed(verdict, || client.token.discard(bearer))
            }
            Client::WebPush(client) => self.renewed(verdict, || client.renew(bearer)),
        };
        self.conclude(&verdict, now_ms);
        End::Said { status, verdict }
    }

    /// What follows from a verdict for whatever goes out after it.
    fn conclude(&self, verdict: &Verdict, now_ms: i64) {
        match verdict {
            Verdict::Accepted => self.standing.proven(now_ms),
            Verdict::Misconfigured(reason) => {
                self.pause(reason, now_ms);
                // Apple: after a key was revoked, all connections are to be closed.
                if self.gateway == Gateway::Apns {
                    self.pool.reconnect();
                }
            }
            // Somebody else signs with this key: nothing that waiting alone would mend.
            Verdict::Hold(reason) => self.standing.refused(reason, now_ms),
            // The connection has closed itself.
            Verdict::Reconnect(_)
            | Verdict::Rejected(_)
            | Verdict::Unregistered { .. }
            | Verdict::Later { .. }
            | Verdict::Renew(_) => {}
        }
    }

    /// What a verdict on a push says of our tokens.
    fn of_token(&self, (status, verdict): (u16, Verdict), user: UserId, handed_over_ms: i64) -> Verdict {
        match verdict {
            // What is no push service at all knows no path either: until it has taken a push it says nothing of subscriptions.
            Verdict::Unregistered { .. }
                if status == 404 && stands_in(self.gateway, &self.platform.config) && !self.pulse.has_taken() =>
            {
                self.doubted("not_found".into(), user, (handed_over_ms, self.now_ms()))
            }
            Verdict::Accepted => {
                if self.pulse.good() {
                    tracing::info!(gateway = self.gateway.word(), "the gateway knows our tokens again");
                }
                Verdict::Accepted
            }
            Verdict::Rejected(reason) => self.doubted(reason, user, (handed_over_ms, self.now_ms())),
            Verdict::Reconnect(_)
            | Verdict::Misconfigured(_)
            | Verdict::Hold(_)
            | Verdict::Unregistered { .. }
            | Verdict::Later { .. }
            | Verdict::Renew(_) => verdict,
        }
    }

    /// A rejection of a token that may be ours to answer for: in numbers, it is not the tokens that are wrong.
    fn doubted(&self, reason: Reason, user: UserId, (handed_over_ms, now_ms): (i64, i64)) -> Verdict {
        let of_all = match (self.gateway, &*reason) {
            (Gateway::Apns, apns::BAD_DEVICE_TOKEN) => "bad_device_tokens",
            (Gateway::Apns, "device_token_not_for_topic") => "device_token_not_for_topic",
            (Gateway::Fcm, "sender_id_mismatch") => "sender_id_mismatch",
            (Gateway::WebPush, "not_found") => "subscriptions_not_found",
            (Gateway::Apns | Gateway::Fcm | Gateway::WebPush, _) => return Verdict::Rejected(reason),
        };
        let (sound, suspected) = self.pulse.bad(user);
        if suspected {
            self.pause(of_all, now_ms);
        } else if self.gateway == Gateway::Fcm && sound {
            // A stray token of another project among many good ones: for this project it is dead.
            return Verdict::Unregistered { at_ms: Some(handed_over_ms) };
        }
        Verdict::Rejected(reason)
    }

    fn pause(&self, reason: &str, now_ms: i64) {
        let gateway = self.gateway.word();
        tracing::error!(gateway, reason, "the gateway refuses the app's credential or settings: its pushes pause");
        self.pulse.refused(now_ms);
        self.standing.refused(reason, now_ms);
    }

    /// Whether Apple says that it does not know a token.
    pub(super) fn is_unknown(&self, end: &End) -> bool {
        self.gateway == Gateway::Apns && is_unknown(end)
    }

    /// Where else its token may be known, if it was not there yet and may go there: a test never from sandbox to production.
    pub(super) fn elsewhere(&self, claimed: &Claimed) -> Option<Route> {
        if claimed.was_unknown_elsewhere() || self.test && self.platform.config.apns_url.is_empty() {
            return None;
        }
        Some(Route { gateway: self.gateway, environment: self.environment.other(), test: self.test, service: None })
    }

    /// Whether it has a key for this topic.
    pub(super) fn may_send(&self, topic: Option<&str>) -> bool {
        match &self.client {
            Client::Apns { client, .. } => {
                self.serves.has(topic) && topic.is_none_or(|topic| client.topics.iter().any(|own| own == topic))
            }
            Client::Fcm { .. } | Client::WebPush(_) => true,
        }
    }

    /// A refused token is made anew once; a new one that is refused as well is a matter of settings.
    fn renewed(&self, verdict: Verdict, renew: impl FnOnce() -> bool) -> Verdict {
        match verdict {
            Verdict::Renew(reason) if !renew() => Verdict::Misconfigured(reason),
            other => other,
        }
    }
}

//! A lane to a gateway: one app's credential, its connections, and what the gateway has said about them.

use super::credentials::{self, Credential};
use super::ending::{End, Held};
use super::message::{Gateway, Push};
use super::route::Route;
use super::verdict::Verdict;
use super::{apns, fcm};
use crate::clock;
use crate::error::Result;
use crate::id::AppId;
use crate::outbound::{Answer, Limits, Loss, Outgoing, Pool, Slot, Target, Trust};
use crate::people::device::Environment;
use crate::platform::Platform;
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// How long a lane pauses after its credential or settings were refused, in milliseconds.
const PAUSE_MS: i64 = 30_000;

/// One app's way to one gateway.
pub(super) struct Lane {
    pub(super) gateway: Gateway,
    pub(super) test: bool,
    pool: Pool,
    client: Client,
    platform: Platform,
    paused_until_ms: AtomicI64,
    in_flight: AtomicUsize,
    expired_ms: AtomicI64,
    /// Since when it waits for more free slots, UTC milliseconds; 0: it does not.
    waits_since_ms: AtomicI64,
    /// How long the gateway takes to accept a push, for the figures that the server shows of itself.
    pub(super) accepted_after: metrics::Histogram,
}

#[expect(clippy::large_enum_variant, reason = "one per lane, which lives as long as the process")]
enum Client {
    Apns(apns::Client),
    Fcm(fcm::Client),
}

/// All lanes, opened when first needed.
pub(super) struct Lanes {
    platform: Platform,
    trust: Trust,
    open: Arc<RwLock<Open>>,
}

#[derive(Default)]
struct Open {
    lanes: HashMap<(AppId, Route), Option<Arc<Lane>>>,
    /// How often credentials were told to have changed: what was read before the last time is not kept.
    changes: u64,
}

impl Lanes {
    pub(super) fn new(platform: &Platform) -> Result<Self> {
        let trust = Trust::load(&platform.config.ca_file)?;
        let open: Arc<RwLock<Open>> = Arc::default();
        let told = Arc::clone(&open);
        let hint = platform.push_hint.clone();
        platform.cache.subscribe(credentials::CHANGED, move |app| {
            let mut open = told.write().unwrap_or_else(PoisonError::into_inner);
            open.changes += 1;
            open.lanes.retain(|(of, _), _| of.to_string() != app);
            hint.nudge();
        });
        Ok(Self { platform: platform.clone(), trust, open })
    }

    /// The lane, if it was opened before: for places that cannot wait.
    pub(super) fn opened(&self, app: AppId, route: Route) -> Option<Arc<Lane>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).lanes.get(&(app, route)).cloned().flatten()
    }

    /// The lane; `None` when the app has no credential for it.
    pub(super) async fn get(&self, app: AppId, route: Route) -> Result<Option<Arc<Lane>>> {
        loop {
            let changes = {
                let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(known) = open.lanes.get(&(app, route)) {
                    return Ok(known.clone());
                }
                open.changes
            };
            let lane = match self.credential(app, route).await? {
                Some(credential) => Some(Arc::new(self.build(route, credential)?)),
                None => None,
            };
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            if open.changes == changes {
                open.lanes.insert((app, route), lane.clone());
                return Ok(lane);
            }
        }
    }

    async fn credential(&self, app: AppId, route: Route) -> Result<Option<Credential>> {
        // Google has no sandbox: a test goes to a stand-in or nowhere.
        if route.gateway == Gateway::Fcm && route.test && self.platform.config.fcm_url.is_empty() {
            return Ok(None);
        }
        let Some(sealed) = self.platform.store.read(move |c| credentials::sealed(c, app, route)).await? else { return Ok(None) };
        sealed.open(&self.platform, app, route).map(Some)
    }

    fn build(&self, route: Route, credential: Credential) -> Result<Lane> {
        let config = &self.platform.config;
        let limits = Limits { streams: config.gateway_streams, connections: config.gateway_connections };
        let pool = |authority: &str, instead: &str, setting: &str, limits: Limits| -> Result<Pool> {
            let hint = self.platform.push_hint.clone();
            Ok(Pool::new(Target::new(authority, instead, setting)?, self.trust.clone(), limits, move || hint.nudge()))
        };
        let (pool, client) = match credential {
            Credential::Apns { key, topics } => {
                let authority = match route.environment {
                    Environment::Production => apns::PRODUCTION,
                    Environment::Sandbox => apns::SANDBOX,
                };
                let client = apns::Client::new(apns::ProviderToken::new(key), topics, authority);
                (pool(authority, &config.apns_url, "KAIROS_APNS_URL", limits)?, Client::Apns(client))
            }
            Credential::Fcm(account) => {
                let host = account.token_uri.host().unwrap_or_default().to_owned();
                let exchange = pool(&host, &config.fcm_url, "KAIROS_FCM_URL", Limits { streams: 1, connections: 1 })?;
                let token = Arc::new(fcm::AccessToken::new(account, exchange, self.platform.clock.clone()));
                let client = fcm::Client::new(token, fcm::GATEWAY).map_err(crate::error::Error::broken)?;
                (pool(fcm::GATEWAY, &config.fcm_url, "KAIROS_FCM_URL", limits)?, Client::Fcm(client))
            }
        };
        let paused_until_ms = AtomicI64::new(0);
        let in_flight = AtomicUsize::new(0);
        let (platform, expired_ms) = (self.platform.clone(), AtomicI64::new(0));
        let accepted_after = metrics::histogram!("kairos_push_latency_seconds", "gateway" => route.gateway.word());
        Ok(Lane {
            gateway: route.gateway,
            test: route.test,
            pool,
            client,
            platform,
            paused_until_ms,
            in_flight,
            expired_ms,
            waits_since_ms: AtomicI64::new(0),
            accepted_after,
        })
    }
}

/// A message's place on a lane, from its claim to its gateway's answer.
pub(super) struct Ride(Arc<Lane>);

impl Ride {
    pub(super) fn begin(lane: &Arc<Lane>) -> Self {
        lane.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(lane))
    }
}

impl std::ops::Deref for Ride {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lane {
    /// How many messages are claimed for it and not answered yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether to wait for more free slots: for so long and no longer, by then some of what is in flight should have been
    /// answered.
    pub(super) fn waits_for_more(&self, now_ms: i64, patience_ms: i64) -> bool {
        let begun = self.waits_since_ms.compare_exchange(0, now_ms, Ordering::SeqCst, Ordering::SeqCst);
        begun.err().is_none_or(|since_ms| clock::is_ahead(since_ms + patience_ms, now_ms, patience_ms))
    }

    pub(super) fn waits_no_longer(&self) {
        self.waits_since_ms.store(0, Ordering::SeqCst);
    }

    /// Up to `n` slots; fewer or none while connections or our own token are on their way, or during a pause.
    pub(super) fn take(&self, n: usize, now_ms: i64) -> Vec<Slot> {
        if clock::is_ahead(self.paused_until_ms.load(Ordering::SeqCst), now_ms, PAUSE_MS) {
            return Vec::new();
        }
        let ready = match &self.client {
            Client::Apns(_) => true,
            Client::Fcm(client) => self.fcm_bearer(client, now_ms).is_some(),
        };
        if ready { self.pool.take(n) } else { Vec::new() }
    }

    /// Whether it is time to look for passed deadlines in a queue that does not move: once a second.
    pub(super) fn may_expire(&self, now_ms: i64) -> bool {
        let last_ms = self.expired_ms.load(Ordering::SeqCst);
        let due = now_ms.abs_diff(last_ms) >= 1_000;
        if due {
            self.expired_ms.store(now_ms, Ordering::SeqCst);
        }
        due
    }

    /// Until when nothing is sent here, UTC milliseconds; `None` when there is no pause.
    pub(super) fn paused_until_ms(&self, now_ms: i64) -> Option<i64> {
        let own_ms = Some(self.paused_until_ms.load(Ordering::SeqCst)).filter(|ms| clock::is_ahead(*ms, now_ms, PAUSE_MS));
        let token_ms = match &self.client {
            Client::Apns(_) => None,
            Client::Fcm(client) => client.token.paused_until_ms(now_ms),
        };
        own_ms.max(token_ms)
    }

    fn fcm_bearer(&self, client: &fcm::Client, now_ms: i64) -> Option<HeaderValue> {
        let hint = self.platform.push_hint.clone();
        client.token.bearer(now_ms, move || hint.nudge())
    }

    /// The request for a push, as it has to look now, and the token that it shows.
    pub(super) fn request(&self, push: &Push, now_ms: i64) -> Result<(Outgoing, HeaderValue), Held> {
        match &self.client {
            Client::Apns(client) => client.request(push, now_ms).map_err(Held::Impossible),
            Client::Fcm(client) => {
                let bearer = self.fcm_bearer(client, now_ms).ok_or(Held::Slotless)?;
                client.request(push, &bearer, now_ms).map(|outgoing| (outgoing, bearer)).map_err(Held::Impossible)
            }
        }
    }

    /// What became of a push, and what follows from it for the pushes after it.
    pub(super) fn heard(&self, result: Result<Answer, Loss>, bearer: &HeaderValue, handed_over_ms: i64) -> End {
        let answer = match result {
            Ok(answer) => answer,
            Err(loss) => return End::Lost(loss),
        };
        let (status, now_ms) = (answer.status.as_u16(), self.platform.clock.now_ms());
        let verdict = match &self.client {
            Client::Apns(client) => {
                let verdict = apns::judge(&answer, now_ms);
                match &verdict {
                    Verdict::Accepted => client.token.proven(),
                    Verdict::Hold(_) => client.token.hold(now_ms),
                    _ => {}
                }
                self.renewed(verdict, || client.token.renew(bearer, now_ms))
            }
            Client::Fcm(client) => {
                let verdict = fcm::judge(&answer, handed_over_ms, now_ms);
                if verdict == Verdict::Accepted {
                    client.token.proven();
                }
                self.renewed(verdict, || client.token.discard(bearer))
            }
        };
        match &verdict {
            Verdict::Reconnect(_) => self.pool.reconnect(),
            Verdict::Misconfigured(reason) => {
                tracing::error!(gateway = self.gateway.word(), %reason, "the gateway refuses the app's credential or settings");
                self.paused_until_ms.store(now_ms + PAUSE_MS, Ordering::SeqCst);
            }
            Verdict::Accepted
            | Verdict::Rejected(_)
            | Verdict::Unregistered { .. }
            | Verdict::Later { .. }
            | Verdict::Renew(_)
            | Verdict::Hold(_) => {}
        }
        End::Said { status, verdict }
    }

    /// A refused token is made anew once; a new one that is refused as well is a matter of settings.
    fn renewed(&self, verdict: Verdict, renew: impl FnOnce() -> bool) -> Verdict {
        match verdict {
            Verdict::Renew(reason) if !renew() => Verdict::Misconfigured(reason),
            other => other,
        }
    }
}

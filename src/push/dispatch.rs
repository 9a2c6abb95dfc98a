//! The dispatcher: claims what is due under free stream slots. How it is handed over: `hand_over.rs`; who comes before
//! whom: `share.rs`.

use super::flights::{Aboard, Flights};
use super::gauges::Gauges;
use super::hand_over::Ready;
use super::lane::Lane;
use super::lanes::{Found, Lanes, Serves};
use super::latency::Latency;
use super::look::{Look, Wish};
use super::message::{Gateway, NewMessage};
use super::outbox::{self, Claim};
use super::pace::Pace;
use super::route::Route;
use super::settle::{self, Outcome};
use super::store;
use super::traffic::Ride;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::AppId;
use crate::outbound::Slot;
use crate::platform::Platform;
use crate::platform::fence::Flight;
use crate::store::Conn;
use crate::worker::{Progress, Worker};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Most messages in one claim.
pub(super) const BATCH: usize = 500;
/// How many claims are made at once, where the database can.
const CLAIMS: usize = 2;
/// Most claims of bulk in one look: then what is not bulk is looked for again.
const BULK_CLAIMS: usize = 1;
/// How often a step looks again while a connection or a token is on its way, and how long for each.
const LOOKS: usize = 8;
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// When to look again after that, by the domain's clock and by the machine's.
pub(super) const LATER_MS: i64 = 500;
const POLL_MS: u64 = 500;

/// Sends messages; cheap to clone.
#[derive(Clone)]
pub struct Dispatcher(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) platform: Platform,
    pub(super) lanes: Lanes,
    pub(super) outcomes: mpsc::UnboundedSender<Outcome>,
    flights: Flights,
    pub(super) latency: Latency,
    gauges: Gauges,
    /// Where the next look begins among the queues of bulk: they take turns.
    turn: AtomicUsize,
    /// How much bulk may be in flight beside moments, and since when that is watched.
    pace: Mutex<Pace>,
    since: Instant,
    /// Whether this server stops: no step waits for anything any more.
    leaving: AtomicBool,
    /// Answers are awaited here, whoever hands over.
    pub(super) runtime: Handle,
}

/// A place for a message that is to go at once: a lane, a slot, an entered fence.
pub(super) struct Berth {
    pub(super) lane: Ride,
    pub(super) slot: Slot,
    pub(super) flight: Flight,
    /// Dropped last: it wakes the worker, who then finds the slot free.
    pub(super) aboard: Aboard,
}

/// What [`outbox::plan`] has put into the transaction; goes to [`Dispatcher::go`] after the commit.
#[derive(Default)]
#[must_use = "give it to Dispatcher::go after the commit"]
pub struct Planned {
    pub(super) sends: Vec<Ready>,
    pub(super) queued: bool,
}

impl Planned {
    /// Several plans of one transaction as one.
    pub fn join(&mut self, other: Self) {
        self.sends.extend(other.sends);
        self.queued |= other.queued;
    }
}

impl Dispatcher {
    /// Opens the lanes and takes up what a crash has left. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the CA file cannot be read, or what the database says.
    pub async fn open(platform: &Platform) -> Result<Self> {
        let now_ms = platform.clock.now_ms();
        let stranded = platform.store.write(move |conn| outbox::recover(conn, now_ms)).await?;
        if stranded > 0 {
            tracing::warn!(stranded, "messages were on their way when this server stopped; nobody knows whether they arrived");
        }
        let (outcomes, received) = mpsc::unbounded_channel();
        tokio::spawn(settle::run(platform.clone(), received));
        Ok(Self(Arc::new(Inner {
            platform: platform.clone(),
            lanes: Lanes::new(platform)?,
            outcomes,
            flights: Flights::default(),
            latency: Latency::default(),
            gauges: Gauges::default(),
            turn: AtomicUsize::new(0),
            pace: Mutex::default(),
            since: Instant::now(),
            leaving: AtomicBool::new(false),
            runtime: Handle::current(),
        })))
    }

    /// The loop that claims what is due.
    pub fn worker(&self) -> Worker {
        let (me, platform) = (self.clone(), &self.0.platform);
        let step = move || {
            let me = me.clone();
            async move { me.step().await }
        };
        Worker::new("push", platform.push_hint.clone(), POLL_MS, step).at_once(CLAIMS.min(platform.store.long_ones()))
    }

    /// The loop that writes what gateways think of credentials.
    pub fn credentials_worker(&self) -> Worker {
        self.0.lanes.desk.worker(&self.0.platform)
    }

    /// What the gateway has taken lately: p95 of the last hour in milliseconds, or the setting until enough is known.
    pub fn latency_p95_ms(&self, gateway: Gateway) -> i64 {
        let platform = &self.0.platform;
        self.0.latency.p95_ms(gateway, platform.clock.now_ms()).unwrap_or(platform.config.push_latency_ms_initial)
    }

    /// Hands over what a committed transaction has planned.
    pub fn go(&self, planned: Planned) {
        if planned.queued {
            self.0.platform.push_hint.nudge();
        }
        self.send(planned.sends);
    }

    /// So many moments were decided together within this time: when that is long, what is said to many gives way.
    pub fn decided(&self, many: usize, took: Duration) {
        self.pace().decided((many, took), self.0.lanes.bulk(), self.0.since.elapsed());
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.0.flights.count() == 0
    }

    /// How much of what is said to many, of which there is some, may be in flight on a lane; none: whatever the lane bears.
    pub(super) fn bulk_limit(&self) -> Option<usize> {
        self.pace().limit(self.0.lanes.bulk(), self.0.since.elapsed())
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.0.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This server stops: the step in progress ends now. What waits is taken up at the next start.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::SeqCst);
        for _ in 0..CLAIMS {
            self.0.platform.push_hint.nudge();
        }
    }

    /// Waits until nothing is on its way: every claimed message is settled.
    pub async fn landed(&self) {
        loop {
            let landed = self.0.flights.landed();
            tokio::pin!(landed);
            landed.as_mut().enable();
            if self.0.flights.count() == 0 {
                return;
            }
            landed.await;
        }
    }

    /// The lane that serves this topic, for what goes beside the outbox; none without a credential.
    pub(super) async fn lane(&self, app: AppId, route: Route, topic: Option<&str>) -> Result<Option<Arc<Lane>>> {
        Ok(match self.0.lanes.get(app, &route).await? {
            Found::Lanes(ways) => ways.iter().find(|lane| lane.serves.has(topic)).cloned(),
            Found::NoRoom => None,
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.0.platform.config
    }

    /// Berths for those of these messages that are due now, as far as there are any.
    pub(super) fn board(&self, messages: &[NewMessage], now_ms: i64) -> Vec<Option<Berth>> {
        let bulk_limit = if messages.iter().any(|m| m.bulk) { self.bulk_limit() } else { None };
        let board = |message: &NewMessage| {
            if message.due_ms > now_ms || message.deadline_ms <= now_ms {
                return None;
            }
            let route = Route::of(message, self.config());
            let lane = self.0.lanes.opened((message.app_id, route), message.topic.as_deref())?;
            if message.bulk && bulk_limit.is_some_and(|limit| lane.traffic.bulk() >= limit) {
                return None;
            }
            if !message.bulk {
                lane.traffic.single_asks(now_ms);
            }
            let slot = lane.take((1, message.bulk), now_ms).pop()?;
            let flight = self.0.platform.fence.enter(message.app_id, message.user_id);
            Some(Berth { aboard: self.0.flights.board(message.id), lane: Ride::begin(&lane, message.bulk), slot, flight })
        };
        messages.iter().map(board).collect()
    }

    /// One look at the outbox, and patience while something is on its way.
    async fn step(&self) -> Result<Progress> {
        let mut look = Look::default();
        let mut landings = 0;
        for _ in 0..LOOKS {
            landings = self.0.flights.landings();
            look = self.look().await?;
            if look.progress {
                return Ok(Progress::More);
            }
            if !look.blocked || self.is_leaving() || !self.nudged_before(look.next_due_ms).await {
                break;
            }
        }
        let landed = self.0.flights.landed();
        tokio::pin!(landed);
        landed.as_mut().enable();
        if self.0.flights.count() > 0 && !self.is_leaving() {
            let due = async {
                match look.next_due_ms {
                    Some(due_ms) => self.0.platform.clock.sleep_until(due_ms).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = landed => {}
                () = self.0.platform.push_hint.nudged() => {}
                () = due => {}
            }
            return Ok(Progress::More);
        }
        // What came down during the look may wait again, unseen by it.
        if self.0.flights.landings() != landings {
            return Ok(Progress::More);
        }
        let later = look.blocked.then(|| self.0.platform.clock.now_ms() + LATER_MS);
        Ok(match [look.next_due_ms, later].into_iter().flatten().min() {
            Some(due_ms) => Progress::Until(due_ms),
            None => Progress::Idle,
        })
    }

    /// Waits for what is on its way, but never past the time at which something else is due. Answers whether it was nudged.
    async fn nudged_before(&self, due_ms: Option<i64>) -> bool {
        let nudged = timeout(ON_ITS_WAY, self.0.platform.push_hint.nudged());
        let Some(due_ms) = due_ms else { return nudged.await.is_ok() };
        tokio::select! {
            nudged = nudged => nudged.is_ok(),
            () = self.0.platform.clock.sleep_until(due_ms) => false,
        }
    }

    fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::SeqCst)
    }

    async fn look(&self) -> Result<Look> {
        let mut look = Look { progress: self.find_strays().await?, ..Look::default() };
        let waiting = self.0.platform.store.read(store::waiting).await?;
        let (urgent, mut bulk) = look.sort(waiting, self.0.platform.clock.now_ms());
        for wish in &urgent {
            self.claim(wish, &mut look).await?;
        }
        look.claims = 0;
        let turn = self.0.turn.load(Ordering::Relaxed).checked_rem(bulk.len()).unwrap_or(0);
        bulk.rotate_left(turn);
        for (n, wish) in bulk.iter().enumerate() {
            if look.claims >= BULK_CLAIMS {
                look.progress = true;
                self.0.turn.store(turn + n, Ordering::Relaxed);
                break;
            }
            self.claim(wish, &mut look).await?;
        }
        self.0.gauges.show(&self.0.platform, self.0.flights.count());
        Ok(look)
    }

    async fn claim(&self, wish: &Wish, look: &mut Look) -> Result<()> {
        let lanes = match self.0.lanes.get(wish.app, &wish.queue.route).await {
            Ok(Found::Lanes(lanes)) => lanes,
            // Too many push services at once: it has its turn when one of them has nothing to do.
            Ok(Found::NoRoom) => return self.no_room(wish, look).await,
            Err(Error::Busy(what)) => return Err(Error::Busy(what)),
            // One credential that cannot be read is its app's trouble, not everybody's.
            Err(error) => {
                tracing::error!(%error, app = %wish.app, route = %wish.queue.word(), "a credential cannot be used; its pushes wait");
                return self.no_room(wish, look).await;
            }
        };
        let key = wish.queue.key.as_deref();
        let lane = lanes.iter().find(|lane| lane.serves.has(key));
        if let Some(lane) = lane {
            self.leave_to_others((lane, wish), look).await?;
        }
        self.claim_for(lane, wish, look).await
    }

    async fn claim_for(&self, lane: Option<&Arc<Lane>>, wish: &Wish, look: &mut Look) -> Result<()> {
        let platform = &self.0.platform;
        let slots = match lane {
            None => None,
            Some(lane) => Some(self.slots(lane, wish, look).await?).filter(|slots| !slots.is_empty()),
        };
        if lane.is_some() && slots.is_none() {
            return Ok(());
        }
        let (app, queue) = (wish.app, wish.queue.clone());
        let limit = slots.as_ref().map_or(BATCH, Vec::len);
        // From here on they count as used, so that no other claim takes them for free.
        let rides: Vec<Ride> = lane.map(|lane| (0..limit).map(|_| Ride::begin(lane, queue.bulk)).collect()).unwrap_or_default();
        let serves = lane.map_or(Serves::All, |lane| lane.serves.clone());
        let (fence, flights, clock) = (platform.fence.clone(), self.0.flights.clone(), platform.clock.clone());
        let claim = move |conn: &mut Conn| {
            let claim = Claim { app, queue: &queue, serves: &serves, limit, fence: &fence, flights: &flights, clock: &clock };
            outbox::claim(conn, &claim)
        };
        let claims =
            if wish.queue.bulk { platform.store.write_patiently(claim).await } else { platform.store.write(claim).await };
        if let Some(lane) = lane {
            lane.give_back(limit.saturating_sub(claims.as_ref().map_or(0, |claims| claims.taken.len())));
        }
        let claims = claims?;
        let moved = claims.ended || !claims.taken.is_empty();
        look.claims += usize::from(moved);
        look.progress |= moved;
        if claims.ended {
            platform.feedback_hint.nudge();
        }
        let (mut slots, mut rides) = (slots.unwrap_or_default().into_iter(), rides.into_iter());
        let ready = |(claimed, flight, aboard)| Ready { claimed, aboard, slot: slots.next(), flight, lane: rides.next() };
        let sends = claims.taken.into_iter().map(ready).collect();
        // Beside this step: while these go out the next ones are claimed. What is encrypted costs its time on the processor,
        // which the async threads do not have.
        let me = self.clone();
        if wish.queue.route.gateway == Gateway::WebPush {
            self.0.runtime.spawn_blocking(move || me.send(sends));
        } else {
            self.0.runtime.spawn(me.send_claim(sends));
        }
        Ok(())
    }

    /// Messages that are `sending` in the database and nowhere here: a claim took effect whose answer was lost.
    async fn find_strays(&self) -> Result<bool> {
        let platform = &self.0.platform;
        let now_ms = platform.clock.now_ms();
        if !self.0.flights.may_look(now_ms) {
            return Ok(false);
        }
        let sending = platform.store.read(store::sending).await?;
        let strays = self.0.flights.strays(&sending.iter().map(|s| s.id).collect::<Vec<_>>(), now_ms);
        if strays.is_empty() {
            return Ok(false);
        }
        tracing::warn!(messages = strays.len(), "messages were claimed and the database's answer was lost; taking them up");
        platform.store.write(move |conn| outbox::take_up(conn, &sending, &strays, now_ms)).await?;
        platform.feedback_hint.nudge();
        Ok(true)
    }
}

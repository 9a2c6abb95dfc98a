//! The connections to one gateway: slots now, or a connection on its way.

use super::connection::{self, Change, Live, OnChange, Opening};
use super::exchange::{Answer, HandOver, Loss, Outgoing, Slot};
use super::{Target, Trust};
use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// First pause after a connection that failed; it doubles up to the limit, with jitter.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_DOUBLINGS: u32 = 9;

/// How far a pool may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams in flight per connection, at most what the peer allows.
    pub streams: usize,
    /// Connections.
    pub connections: usize,
}

/// How many requests a pool carries at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Over the connections that there are.
    pub all: usize,
    /// Of these now.
    pub free: usize,
}

impl Room {
    /// What is left of it inside another one.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self { all: self.all.min(other.all), free: self.free.min(other.free) }
    }
}

/// Over which connections slots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The one that carries least, of those that have proven good: behind what a full one carries a request waits.
    Emptiest,
    /// One that has not proven good before all others: whoever is in no hurry finds out, and by that opens it for all. The last
    /// of the others is left to those who are in a hurry; with `Everywhere` it comes last.
    Broad,
    /// See [`Way::Broad`].
    Everywhere,
}

/// The connections to one gateway under one identity; cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    target: Target,
    trust: Trust,
    limits: Limits,
    state: Mutex<State>,
    connecting: AtomicBool,
    /// How many connections could not be made.
    failed: AtomicU64,
    changed: Arc<Notify>,
    on_change: OnChange,
    /// Slots are also asked for on database threads, which are outside the runtime.
    runtime: Handle,
}

#[derive(Default)]
struct State {
    live: Vec<Arc<Live>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Pool {
    /// A pool without connections yet; `on_change` is called when a connection came, went or changed its limit.
    /// Call it inside a tokio runtime.
    pub fn new(target: Target, trust: Trust, limits: Limits, on_change: impl Fn() + Send + Sync + 'static) -> Self {
        let changed = Arc::new(Notify::new());
        let told = Arc::clone(&changed);
        let on_change: OnChange = Arc::new(move |change| {
            told.notify_waiters();
            match change {
                // Whoever sends knows by itself when its answers come.
                Change::Slot => {}
                Change::Connection => on_change(),
            }
        });
        Self(Arc::new(Inner {
            target,
            trust,
            limits,
            state: Mutex::default(),
            connecting: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            changed,
            on_change,
            runtime: Handle::current(),
        }))
    }

    /// Where this pool leads to.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// Up to `n` slots that are free now. When there are fewer, one more connection is opened in the background, if
    /// the limits allow one.
    pub fn take(&self, n: usize) -> Vec<Slot> {
        self.take_some(n, |room| (room.free, Way::Emptiest))
    }

    /// As [`Pool::take`], no more than `allowed` says of the room that there is, and over which connections.
    pub fn take_some(&self, n: usize, allowed: impl FnOnce(Room) -> (usize, Way)) -> Vec<Slot> {
        let mut slots = Vec::new();
        let short = {
            let mut state = self.state();
            state.tidy();
            let room = state.room();
            let (allowed, way) = allowed(room);
            let order = state.in_order(way);
            let short = order.iter().map(|live| live.free()).sum::<usize>() < n;
            for live in order {
                while slots.len() < allowed.min(n) && live.take() {
                    slots.push(Slot::new(Arc::clone(live)));
                }
            }
            short
        };
        if short {
            self.grow();
        }
        slots
    }

    /// How many slots are free now.
    pub fn free(&self) -> usize {
        self.state().room().free
    }

    /// How many connections could not be made so far.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::SeqCst)
    }

    /// Waits for a slot.
    ///
    /// # Errors
    /// [`Loss::Unsent`] when none came in time.
    pub async fn slot(&self, until: Instant) -> Result<Slot, Loss> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(slot) = self.take(1).pop() {
                return Ok(slot);
            }
            timeout_at(until, changed).await.map_err(|_| Loss::Unsent("no_connection"))?;
        }
    }

    /// One request from beginning to end: for what needs no check at hand-over (token exchanges).
    ///
    /// # Errors
    /// What is known of the loss.
    pub async fn request(&self, outgoing: impl Fn() -> Outgoing, within: Duration) -> Result<Answer, Loss> {
        let until = Instant::now() + within;
        loop {
            let slot = self.slot(until).await?;
            match slot.hand_over(|| Ok::<_, std::convert::Infallible>(outgoing())) {
                Ok(flying) => return flying.answer(until.saturating_duration_since(Instant::now())).await,
                Err(HandOver::Closed) => {}
                Err(HandOver::Refused(never)) => match never {},
            }
        }
    }

    /// Lets go of all connections: what is in flight may still be answered, what comes next goes over new ones.
    pub fn reconnect(&self) {
        for live in std::mem::take(&mut self.state().live) {
            live.close();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens one more connection in the background, unless one is on its way or there are enough.
    fn grow(&self) {
        {
            let state = self.state();
            // A connection that has not succeeded yet shows whether a second one makes sense.
            let cold = state.live.iter().any(|live| live.is_open() && !live.is_warm());
            if cold || state.live.len() >= self.0.limits.connections {
                return;
            }
        }
        if self.0.connecting.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool = self.clone();
        self.0.runtime.spawn(async move {
            pool.connect().await;
            pool.0.connecting.store(false, Ordering::SeqCst);
            // Whoever still needs a slot asks again, and by that starts the next attempt.
            (pool.0.on_change)(Change::Connection);
        });
    }

    async fn connect(&self) {
        let not_before = self.state().not_before;
        if let Some(not_before) = not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let opening = Opening {
            target: &self.0.target,
            trust: &self.0.trust,
            streams: self.0.limits.streams,
            on_change: Arc::clone(&self.0.on_change),
        };
        let opened = connection::open(opening).await;
        let mut state = self.state();
        match opened {
            Ok(live) => {
                // Trust grows again with the first success: one that only connects and is cut keeps its pauses.
                state.failures += 1;
                state.not_before = Some(Instant::now() + pause(state.failures.saturating_sub(1)));
                state.live.push(live);
            }
            Err(error) => {
                state.failures += 1;
                self.0.failed.fetch_add(1, Ordering::SeqCst);
                state.not_before = Some(Instant::now() + pause(state.failures));
                let gateway = self.0.target.authority.as_str();
                tracing::warn!(gateway, error, failures = state.failures, "no connection to the gateway");
            }
        }
    }
}

impl State {
    fn room(&self) -> Room {
        let of = |live: &Arc<Live>| (live.slots(), live.free());
        let (all, free) = self.live.iter().map(of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Room { all, free }
    }

    /// The connections in the order in which they are asked for slots.
    fn in_order(&self, way: Way) -> Vec<&Arc<Live>> {
        let mut order: Vec<&Arc<Live>> = self.live.iter().collect();
        // What they say changes while it is read.
        match way {
            Way::Emptiest => order.sort_by_cached_key(|live| (!live.is_warm(), Reverse(live.free()))),
            Way::Broad | Way::Everywhere => order.sort_by_cached_key(|live| live.is_warm()),
        }
        if way == Way::Broad && order.iter().filter(|live| live.is_warm()).count() > 1 {
            order.pop();
        }
        order
    }

    fn tidy(&mut self) {
        if self.live.iter().any(|live| live.is_warm()) {
            self.failures = 0;
            self.not_before = None;
        }
        self.live.retain(|live| live.is_open());
    }
}

/// Half of it fixed, half by the machine's whim, so that many nodes do not come back in step.
fn pause(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let whole = BACKOFF * 2_u32.pow(failures.min(BACKOFF_DOUBLINGS));
    let whim = f64::from(u16::from_le_bytes(random())) / f64::from(u16::MAX);
    whole.mul_f64(0.5 + whim / 2.0)
}

fn random() -> [u8; 2] {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 2];
    // Without randomness the pause is merely less spread.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    bytes
}

//! What a lane has learnt of its gateway: whether it knows our tokens, whether it works, how much it bears at once.

use super::breaker::{Breaker, Open};
use super::health::Health;
use super::message::Gateway;
use super::verdict::{Reason, Verdict};
use super::window::{Flight, Window};
use crate::clock::is_ahead;
use crate::id::UserId;
use crate::outbound::{Loss, Room};
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The word for connections that cannot be made.
const NO_CONNECTION: &str = "no_connection";
/// How long nothing goes out after our credential or settings were refused, in milliseconds.
pub(super) const PAUSE_MS: i64 = 30_000;
/// So many users are remembered for it.
const DOUBTERS_MAX: usize = 1_000;
/// Answers from here on say that the gateway does not work.
const BROKEN: u16 = 500;

/// See the module.
pub(super) struct Pulse {
    gateway: Gateway,
    mind: Mutex<Mind>,
    /// How many slots there were when some were taken last.
    slots: AtomicUsize,
    /// How many connections had failed when that was looked at last.
    unconnected: AtomicU64,
    /// Nothing goes out before this time, because our credential or settings are refused; UTC milliseconds.
    refused_until_ms: AtomicI64,
    /// When it began. How long answers take is read off the machine's monotonic clock: a step of the wall clock would be
    /// taken for a slow gateway, and in a replay the domain's clock says nothing of how fast a gateway is.
    since: Instant,
}

struct Mind {
    health: Health,
    /// Whose tokens the gateway did not know lately.
    doubters: HashSet<UserId>,
    breaker: Breaker,
    window: Window,
    /// Since when our credential or settings are refused.
    refused: Option<Instant>,
}

impl Departure {
    /// Now, by the machine's clock, and what the domain's shows.
    pub(super) fn now(at_ms: i64) -> Self {
        Self { at_ms, at: Instant::now() }
    }
}

/// When something was handed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    /// By the domain's clock, UTC milliseconds.
    pub(super) at_ms: i64,
    /// By the machine's.
    pub(super) at: Instant,
}

impl Pulse {
    pub(super) fn new(gateway: Gateway, streams: usize) -> Self {
        let mind = Mind {
            health: Health::default(),
            doubters: HashSet::new(),
            breaker: Breaker::default(),
            window: Window::new(streams),
            refused: None,
        };
        let pulse = Self {
            gateway,
            mind: Mutex::new(mind),
            slots: AtomicUsize::new(1),
            unconnected: AtomicU64::new(0),
            refused_until_ms: AtomicI64::new(0),
            since: Instant::now(),
        };
        // Whoever watches the figure sees that it is there.
        pulse.gauge().increment(0.0);
        pulse
    }

    /// How many pushes may be in flight, and how many may go beside those that are; `wanted` would like to.
    pub(super) fn room(&self, (wanted, in_flight): (usize, usize), now_ms: i64) -> Room {
        let mut mind = self.mind();
        if self.is_refused(now_ms) || mind.breaker.until_ms(now_ms).is_some() {
            return Room { all: 0, free: 0 };
        }
        // Under suspicion, or after a pause, one push shows whether anything has changed.
        if mind.health.is_suspected() || mind.refused.is_some() || mind.breaker.open().is_some() {
            return Room { all: 1, free: usize::from(in_flight == 0) };
        }
        Room { all: mind.window.limit(), free: mind.window.room(wanted, in_flight) }
    }

    /// So many slots there are.
    pub(super) fn has_slots(&self, slots: usize) {
        self.slots.store(slots, Ordering::Relaxed);
    }

    /// So many connections could not be made so far.
    pub(super) fn unconnected(&self, so_far: u64, now_ms: i64) {
        let news = so_far.saturating_sub(self.unconnected.fetch_max(so_far, Ordering::Relaxed));
        if news == 0 {
            return;
        }
        let mut mind = self.mind();
        for _ in 0..news.min(u64::from(super::breaker::ROW)) {
            self.failed(&mut mind, &Reason::Borrowed(NO_CONNECTION), (now_ms, now_ms));
        }
    }

    /// The gateway has answered with this status, whatever it means for the message.
    pub(super) fn answered(&self, (status, verdict): (u16, &Verdict), left: Departure, now_ms: i64) {
        let mut mind = self.mind();
        if mind.window.answered(self.flight(left)) {
            self.shrunk(&mind.window);
        }
        // Whoever hears that somebody is gone has been let in. What left before the refusal proves nothing.
        let let_in = matches!(verdict, Verdict::Accepted | Verdict::Unregistered { .. });
        if let_in && mind.refused.is_some_and(|since| left.at >= since) {
            mind.refused = None;
        }
        match verdict {
            // One connection is at its end: that says nothing of the next.
            Verdict::Reconnect(_) => {}
            Verdict::Later { reason, .. }
            | Verdict::Rejected(reason)
            | Verdict::Misconfigured(reason)
            | Verdict::Renew(reason)
            | Verdict::Hold(reason)
                if status >= BROKEN =>
            {
                self.failed(&mut mind, reason, (left.at_ms, now_ms));
            }
            Verdict::Accepted
            | Verdict::Unregistered { .. }
            | Verdict::Later { .. }
            | Verdict::Rejected(_)
            | Verdict::Misconfigured(_)
            | Verdict::Renew(_)
            | Verdict::Hold(_) => {
                let closed = mind.breaker.worked();
                drop(mind);
                self.closed(closed);
            }
        }
    }

    /// The gateway has not answered.
    pub(super) fn lost(&self, loss: &Loss, left: Departure, now_ms: i64) {
        // Connections end, and a stream that is refused or cut says nothing of those after it.
        if let Loss::Unknown(word @ Loss::TIMEOUT) = loss {
            let mut mind = self.mind();
            if mind.window.timed_out(self.flight(left)) {
                self.shrunk(&mind.window);
            }
            self.failed(&mut mind, &Reason::Borrowed(word), (left.at_ms, now_ms));
        }
    }

    /// A push to a token was taken. Answers whether that ends a suspicion.
    pub(super) fn good(&self) -> bool {
        self.mind().health.good()
    }

    /// Whether a push to a token was ever taken.
    pub(super) fn has_taken(&self) -> bool {
        self.mind().health.has_taken()
    }

    /// The gateway does not know a token of this user's. Answers whether a single one may be wrong, as far as was known before,
    /// and whether we are suspected by now. Each user speaks once: nobody pauses a lane by tokens that they have made up.
    pub(super) fn bad(&self, user: UserId) -> (bool, bool) {
        let mind = &mut *self.mind();
        if mind.doubters.len() >= DOUBTERS_MAX {
            mind.doubters.clear();
        }
        let sound = mind.health.is_sound();
        let suspected = if mind.doubters.insert(user) { mind.health.bad() } else { mind.health.is_suspected() };
        (sound, suspected)
    }

    /// Our credential or settings were refused: nothing goes out for a while, and then one push at a time asks whether they
    /// still are.
    pub(super) fn refused(&self, now_ms: i64) {
        self.mind().refused = Some(Instant::now());
        self.refused_until_ms.store(now_ms + PAUSE_MS, Ordering::SeqCst);
    }

    /// Whether nothing goes out because they were refused just now.
    pub(super) fn is_refused(&self, now_ms: i64) -> bool {
        is_ahead(self.refused_until_ms.load(Ordering::SeqCst), now_ms, PAUSE_MS)
    }

    /// Whether they were refused and nobody has shown yet that they no longer are.
    pub(super) fn asks(&self) -> bool {
        self.mind().refused.is_some()
    }

    /// Until when everything is held back, UTC milliseconds.
    pub(super) fn until_ms(&self, now_ms: i64) -> Option<i64> {
        let refused_ms = self.is_refused(now_ms).then(|| self.refused_until_ms.load(Ordering::SeqCst));
        refused_ms.max(self.mind().breaker.until_ms(now_ms))
    }

    /// What the breaker is open for, and how many pushes may be in flight.
    pub(super) fn show(&self) -> (Option<Open>, usize) {
        let mind = self.mind();
        (mind.breaker.open().cloned(), mind.window.limit())
    }

    fn flight(&self, left: Departure) -> Flight {
        let slots = self.slots.load(Ordering::Relaxed);
        Flight { left: left.at.saturating_duration_since(self.since), landed: self.since.elapsed(), slots }
    }

    fn failed(&self, mind: &mut Mind, reason: &Reason, between: (i64, i64)) {
        let before = mind.breaker.open().is_some();
        let Some(open) = mind.breaker.failed(reason, between) else { return };
        if !before {
            self.gauge().increment(1.0);
        }
        let (gateway, pause_ms) = (self.gateway.word(), open.until_ms - between.1);
        tracing::warn!(gateway, reason = &**reason, pause_ms, "the gateway fails push after push: its breaker is open");
    }

    fn closed(&self, open: Option<Open>) {
        if let Some(open) = open {
            self.gauge().decrement(1.0);
            let (gateway, reason) = (self.gateway.word(), &*open.reason);
            tracing::info!(gateway, reason, "the gateway answers again: its breaker is closed");
        }
    }

    fn shrunk(&self, window: &Window) {
        let (gateway, streams) = (self.gateway.word(), window.limit());
        metrics::counter!("kairos_push_window_shrunk_total", "gateway" => gateway).increment(1);
        tracing::info!(gateway, streams, "the gateway is slow: fewer pushes at once");
    }

    fn gauge(&self) -> metrics::Gauge {
        metrics::gauge!("kairos_push_breaker_open", "gateway" => self.gateway.word())
    }

    fn mind(&self) -> MutexGuard<'_, Mind> {
        self.mind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let open = self.mind().breaker.worked();
        if open.is_some() {
            self.gauge().decrement(1.0);
        }
    }
}

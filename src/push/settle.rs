//! The ends of attempts, written in batches: while one batch commits, the next one gathers.

use super::ending::{End, Held, Next, next};
use super::flights::Aboard;
use super::message::{Attempt, Gateway, State};
use super::retry::Pauses;
use super::store::{self, Claimed, Settled, Settlement};
use crate::error::{Error, Result};
use crate::id::{AppId, DeviceId};
use crate::people::device;
use crate::platform::Platform;
use crate::store::Conn;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// Ends in one transaction.
const BATCH: usize = 1_000;
/// Google asks never to retry sooner.
const FCM_FLOOR_MS: i64 = 10_000;

/// The end of one attempt.
pub(super) struct Outcome {
    pub(super) claimed: Claimed,
    pub(super) gateway: Gateway,
    pub(super) end: End,
    pub(super) aboard: Aboard,
}

/// What has come and is not written yet.
struct Desk {
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    first: Option<Outcome>,
    /// Taken in hand.
    ends: Vec<Written>,
}

type SharedDesk = Arc<Mutex<Desk>>;

/// Settles until the dispatcher is gone.
pub(super) async fn run(platform: Platform, outcomes: mpsc::UnboundedReceiver<Outcome>) {
    let desk: SharedDesk = Arc::new(Mutex::new(Desk { outcomes, first: None, ends: Vec::with_capacity(BATCH) }));
    while poll_fn(|cx| lock(&desk).poll_come(cx)).await {
        let stopped = commit(&platform, &desk).await;
        let ends = std::mem::take(&mut lock(&desk).ends);
        count(&ends);
        let released = ends.iter().any(|w| w.next.state.is_end() && !w.next.state.counts());
        drop(ends);
        platform.push_hint.nudge();
        if released || stopped {
            platform.feedback_hint.nudge();
        }
    }
}

fn lock(desk: &SharedDesk) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Waits until something has come; false when nothing ever will again.
    fn poll_come(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.first.is_none() {
            self.first = ready!(self.outcomes.poll_recv(cx));
        }
        Poll::Ready(self.first.is_some())
    }

    /// Takes in hand what has come by now. It is called when the database's turn has come, not when the first end came:
    /// a transaction costs the same for one as for many.
    fn gather(&mut self, platform: &Platform) {
        // One time for all of them: what ends alike is one statement.
        let now_ms = platform.clock.now_ms();
        while self.ends.len() < BATCH {
            let Some(outcome) = self.first.take().or_else(|| self.outcomes.try_recv().ok()) else { return };
            self.ends.push(written(platform, outcome, now_ms));
        }
    }
}

/// What one outcome writes.
struct Written {
    gateway: Gateway,
    settlement: Settlement,
    next: Next,
    dead: Option<(AppId, DeviceId, String, i64)>,
    /// Comes down when this is dropped, after the commit.
    _aboard: Aboard,
}

fn written(platform: &Platform, outcome: Outcome, now_ms: i64) -> Written {
    let Outcome { claimed, gateway, end, aboard } = outcome;
    let config = &platform.config;
    let floor_ms = match gateway {
        Gateway::Apns => 0,
        Gateway::Fcm => FCM_FLOOR_MS,
    };
    let pauses = Pauses { base_ms: config.retry_base_ms, limit_ms: config.retry_limit_ms, floor_ms };
    // Randomness is a call to the system, and most pushes are accepted.
    let whim = if is_accepted(&end) { 0.0 } else { f64::from(u16::from_le_bytes(platform.ids.bytes())) / 65_536.0 };
    let next = next(claimed.tried(now_ms), &end, pauses, whim);
    let status = match &end {
        End::Said { status, .. } => Some(*status),
        End::Lost(_) | End::Held(_) => None,
    };
    let attempt = || Attempt {
        n: claimed.attempt,
        started_ms: claimed.started_ms,
        ended_ms: now_ms,
        status,
        reason: next.reason.as_ref().map(|r| r.clone().into_owned()),
    };
    let left = !matches!(end, End::Held(Held::Fenced | Held::Slotless | Held::Expired));
    let settlement = claimed.settlement(&next, left.then(attempt), now_ms);
    let dead = next.dead_ms.map(|at_ms| (claimed.app_id, claimed.device_id, claimed.push.token, at_ms));
    Written { gateway, settlement, next, dead, _aboard: aboard }
}

/// Counts the ends of attempts, for the figures that the server shows of itself.
fn count(ends: &[Written]) {
    let mut counts: HashMap<(Gateway, State), u64> = HashMap::new();
    for Written { gateway, next, .. } in ends {
        *counts.entry((*gateway, next.state)).or_default() += 1;
    }
    for ((gateway, state), n) in counts {
        metrics::counter!("kairos_push_sent_total", "gateway" => gateway.word(), "outcome" => state.word()).increment(n);
    }
}

/// Writes what has come, all at once or, when that is refused, one by one. Answers whether some ended because they had
/// been stopped.
async fn commit(platform: &Platform, desk: &SharedDesk) -> bool {
    let error = match patiently(platform, desk, Which::All).await {
        Ok(stopped) => return stopped,
        Err(error) => error,
    };
    tracing::error!(%error, "a batch of ends was refused; trying them one by one");
    let mut stopped = false;
    let many = lock(desk).ends.len();
    for n in 0..many {
        match patiently(platform, desk, Which::One(n)).await {
            Ok(one) => stopped |= one,
            Err(error) => tracing::error!(%error, "the end of an attempt was refused: the message will end as unknown"),
        }
    }
    stopped
}

/// Which ends to write.
#[derive(Clone, Copy)]
enum Which {
    /// What has come by the time the database's turn has come.
    All,
    /// One that was taken in hand before.
    One(usize),
}

/// Writes ends, however long it takes: what gateways have said must not be lost while the database is away.
async fn patiently(platform: &Platform, desk: &SharedDesk, which: Which) -> Result<bool> {
    let mut failures: u32 = 0;
    loop {
        let (desk, of) = (Arc::clone(desk), platform.clone());
        let written = platform.store.write(move |conn| {
            let mut desk = lock(&desk);
            match which {
                Which::All => {
                    desk.gather(&of);
                    write(conn, &desk.ends)
                }
                Which::One(n) => write(conn, desk.ends.get(n..=n).unwrap_or_default()),
            }
        });
        match written.await {
            Err(Error::Busy(what)) => {
                failures = failures.saturating_add(1);
                tracing::warn!(what, failures, "the ends of attempts wait for the database");
                #[expect(clippy::disallowed_methods, reason = "back-off is in machine time, not in the domain's")]
                tokio::time::sleep(Duration::from_millis(20 << failures.min(7))).await;
            }
            done => return done,
        }
    }
}

fn write(conn: &mut Conn, ends: &[Written]) -> Result<bool> {
    let alone = |w: &&Written| w.settlement.waits() || w.dead.is_some();
    let rest = || ends.iter().filter(|w| !alone(w));
    let mut moved = rest().count().saturating_sub(store::end_alike(conn, rest().map(|w| &w.settlement))?);
    let mut stopped = false;
    for Written { settlement, dead, .. } in ends.iter().filter(alone) {
        match store::settle_one(conn, settlement)? {
            Settled::Written => {}
            Settled::Stopped => stopped = true,
            Settled::Moved => {
                moved += 1;
                continue;
            }
        }
        if let Some((app, device, token, at_ms)) = dead {
            device::kill_token(conn, *app, *device, device::Verdict { token, at_ms: *at_ms })?;
        }
    }
    if moved > 0 {
        tracing::warn!(messages = moved, "messages were moved while they were being sent");
    }
    Ok(stopped)
}

/// Whether a message of this state was taken by its gateway.
pub(super) fn is_accepted(end: &End) -> bool {
    matches!(end, End::Said { verdict: super::Verdict::Accepted, .. })
}

/// The state that a lane without credential leads to.
pub(super) const NO_CREDENTIAL: &str = "no_credential";

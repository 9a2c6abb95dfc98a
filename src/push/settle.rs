//! The ends of attempts, written in batches: while one batch commits, the next one gathers.

use super::apns;
use super::ending::{End, Held, Next, next};
use super::flights::Aboard;
use super::message::{Attempt, Gateway, PLAIN_STATUS, State};
use super::retry::Pauses;
use super::route::{Queue, Route};
use super::store::{self, Claimed, Settled, Settlement};
use crate::error::{Error, Result};
use crate::id::{AppId, DeviceId, UserId};
use crate::people::device::{self, Dead, Environment};
use crate::platform::Platform;
use crate::store::Conn;
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// Ends in one transaction.
const BATCH: usize = 1_000;

/// The end of one attempt.
pub(super) struct Outcome {
    pub(super) claimed: Claimed,
    pub(super) gateway: Gateway,
    pub(super) end: End,
    pub(super) aboard: Aboard,
    /// Through which route to try a token that Apple does not know here, unless it was known here before.
    pub(super) elsewhere: Option<Route>,
    /// The world in which Apple took a token that it did not know in the other.
    pub(super) environment: Option<Environment>,
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
        let released = lock(&desk).leave();
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

    /// Lets go of what is written. Answers whether any of it frees what was reserved for it.
    fn leave(&mut self) -> bool {
        count(&self.ends);
        let released = self.ends.iter().any(|w| w.next.state.is_end() && !w.next.state.counts());
        self.ends.clear();
        released
    }
}

/// What one outcome writes.
struct Written {
    gateway: Gateway,
    settlement: Settlement,
    next: Next,
    dead: Option<(AppId, DeviceId, String, i64)>,
    /// Whether its token is one of a Live Activity, not the device's.
    activity: bool,
    elsewhere: Option<Box<Elsewhere>>,
    at_home: Option<(AppId, DeviceId, String, Environment)>,
    /// Comes down when this is dropped, after the commit.
    _aboard: Aboard,
}

/// Another try through Apple's other host.
struct Elsewhere {
    app: AppId,
    user: UserId,
    device: DeviceId,
    token: String,
    queue: Queue,
    /// What is written when the token was known where it was refused: then it is the token that is bad.
    instead: Settlement,
}

impl Elsewhere {
    /// Whether this token was taken where it was refused now.
    fn is_known(&self, conn: &mut Conn) -> Result<bool> {
        store::is_proven(conn, self.app, (self.user, self.device), (&self.token, self.queue.route.environment.other()))
    }
}

fn written(platform: &Platform, outcome: Outcome, now_ms: i64) -> Written {
    let Outcome { claimed, gateway, end, aboard, elsewhere, environment } = outcome;
    let pauses = Pauses::of(gateway, &platform.config);
    // Randomness is a call to the system, and most pushes are accepted.
    let whim = if is_accepted(&end) { 0.0 } else { f64::from(u16::from_le_bytes(platform.ids.bytes())) / 65_536.0 };
    let mut next = next(claimed.tried(now_ms), &end, pauses, whim);
    let status = match &end {
        End::Said { status, .. } => Some(*status),
        End::Lost(_) | End::Held(_) => None,
    };
    let attempt = |next: &Next| Attempt {
        n: claimed.attempt,
        started_ms: claimed.started_ms,
        ended_ms: now_ms,
        status,
        reason: next.reason.as_ref().map(|r| r.clone().into_owned()),
    };
    // What was accepted says so in its row: see `Attempt::all`.
    let plain = is_accepted(&end) && status == Some(PLAIN_STATUS);
    let left = !plain && !matches!(end, End::Held(Held::Fenced | Held::Slotless | Held::Expired));
    let mut settlement = claimed.settlement(&next, left.then(|| attempt(&next)), now_ms);
    let (app, device) = (claimed.app_id, claimed.device_id);
    let elsewhere = elsewhere.map(|route| {
        let again = Next::again(apns::BAD_DEVICE_TOKEN, now_ms.min(claimed.push.deadline_ms));
        let retry = claimed.settlement(&again, Some(attempt(&again)), now_ms);
        next = again;
        let instead = std::mem::replace(&mut settlement, retry);
        Box::new(Elsewhere {
            app,
            user: claimed.user_id,
            device,
            token: claimed.push.token.clone(),
            queue: Queue { route, bulk: claimed.bulk, key: None },
            instead,
        })
    });
    // Apple forgets the token of an activity that is over, and says no more than that it does not know it.
    if claimed.activity && is_unknown(&end) {
        next.dead_ms = Some(claimed.started_ms);
    }
    let activity = claimed.activity;
    let at_home = environment.map(|environment| (app, device, claimed.push.token.clone(), environment));
    let dead = next.dead_ms.map(|at_ms| (app, device, claimed.push.token, at_ms));
    Written { gateway, settlement, next, dead, activity, elsewhere, at_home, _aboard: aboard }
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
        let written = platform.store.write_patiently(move |conn| {
            let (mut desk, now_ms) = (lock(&desk), of.clock.now_ms());
            match which {
                Which::All => {
                    desk.gather(&of);
                    write(conn, &desk.ends, now_ms)
                }
                Which::One(n) => write(conn, desk.ends.get(n..=n).unwrap_or_default(), now_ms),
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

fn write(conn: &mut Conn, ends: &[Written], now_ms: i64) -> Result<bool> {
    let alone = |w: &&Written| w.settlement.waits() || w.dead.is_some() || w.at_home.is_some();
    let rest = || ends.iter().filter(|w| !alone(w));
    let mut moved = rest().count().saturating_sub(store::end_alike(conn, rest().map(|w| &w.settlement))?);
    let mut stopped = false;
    let mut killed = Killed::new();
    for one in ends.iter().filter(alone) {
        match write_one(conn, one, &mut killed)? {
            Settled::Written => {}
            Settled::Stopped => stopped = true,
            Settled::Moved => moved += 1,
        }
    }
    for (app, dead) in &killed {
        device::bury(conn, *app, (dead, now_ms))?;
    }
    if moved > 0 {
        tracing::warn!(messages = moved, "messages were moved while they were being sent");
    }
    Ok(stopped)
}

/// Devices whose tokens gateways have called dead.
type Killed = BTreeMap<AppId, Vec<Dead>>;

/// Writes one end, and what follows from it for its device.
fn write_one(conn: &mut Conn, one: &Written, killed: &mut Killed) -> Result<Settled> {
    if let Some(elsewhere) = &one.elsewhere {
        if elsewhere.is_known(conn)? {
            let settled = store::settle_one(conn, &elsewhere.instead)?;
            kill(conn, one, (settled, killed))?;
            // It has ended without being sent: what was reserved for it comes free, as for what was stopped.
            return Ok(if settled == Settled::Written { Settled::Stopped } else { settled });
        }
        let settled = store::settle_one(conn, &one.settlement)?;
        if settled == Settled::Written {
            store::reroute(conn, &one.settlement, &elsewhere.queue)?;
        }
        return Ok(settled);
    }
    let settled = store::settle_one(conn, &one.settlement)?;
    kill(conn, one, (settled, killed))?;
    if let Some((app, device, token, environment)) = &one.at_home
        && settled != Settled::Moved
    {
        device::settle_environment(conn, *app, *device, (token, *environment))?;
    }
    Ok(settled)
}

/// Buries the token that an end has called dead, once it is written.
fn kill(conn: &mut Conn, one: &Written, (settled, killed): (Settled, &mut Killed)) -> Result<()> {
    let Some((app, device, token, at_ms)) = one.dead.as_ref().filter(|_| settled != Settled::Moved) else { return Ok(()) };
    let verdict = device::Verdict { token, at_ms: *at_ms };
    if one.activity {
        device::activity::kill(conn, *app, *device, verdict)?;
    } else if let Some(dead) = device::kill_token(conn, *app, *device, verdict)? {
        killed.entry(*app).or_default().push(dead);
    }
    Ok(())
}

/// Whether a message of this state was taken by its gateway.
pub(super) fn is_accepted(end: &End) -> bool {
    matches!(end, End::Said { verdict: super::Verdict::Accepted, .. })
}

/// Whether Apple does not know the token.
pub(super) fn is_unknown(end: &End) -> bool {
    matches!(end, End::Said { verdict: super::Verdict::Rejected(reason), .. } if reason == apns::BAD_DEVICE_TOKEN)
}

/// The state that a lane without credential leads to.
pub(super) const NO_CREDENTIAL: &str = "no_credential";

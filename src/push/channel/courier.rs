//! Sends broadcasts: claims what is due under a free stream slot, hands it over, writes what came of it.

use super::broadcast::Broadcast;
use super::store::{self, Channel};
use super::{Channels, apple, google};
use crate::clock::{DAY_MS, MINUTE_MS};
use crate::error::{Error, Result};
use crate::id::BroadcastId;
use crate::outbound::{Flying, HandOver, Slot};
use crate::push::ending::{End, Held, Next, Tried, next, unknown};
use crate::push::lane::Lane;
use crate::push::message::{Attempt, Gateway};
use crate::push::pulse::Departure;
use crate::push::retry::Pauses;
use crate::push::verdict::Verdict;
use crate::store::Conn;
use crate::worker::Progress;
use http::HeaderValue;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};

/// Longest wait without a hint, in real milliseconds.
pub(super) const POLL_MS: u64 = 500;
/// Most broadcasts on their way at once, and most that one step looks at.
const FLIGHTS_MAX: usize = 64;
/// Most broadcasts of one app that one look finds, so that an app that is shut out hides no other; and most of all apps.
const PER_APP: i64 = 8;
const LOOK: i64 = 1_000;
/// Attempts that are listed of one broadcast; the last one always is.
const ATTEMPTS_MAX: usize = 100;
/// How long a step waits for a connection that is on its way, and when it looks again after that.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
const LATER_MS: i64 = 500;
/// How long ended broadcasts are known, and how long Apple may take to make a channel, in milliseconds.
const KNOWN_MS: i64 = 30 * DAY_MS;
const MAKING_MS: i64 = 10 * MINUTE_MS;

/// What is on its way, and what has come back and is not written yet.
#[derive(Default)]
pub(super) struct Bag {
    flights: JoinSet<Outcome>,
    aboard: HashMap<Id, BroadcastId>,
    done: Vec<Outcome>,
    tidied_ms: i64,
}

/// The end of one attempt.
#[derive(Clone)]
struct Outcome {
    broadcast: Broadcast,
    gateway: Gateway,
    end: End,
}

/// A broadcast with what it needs to go.
struct Ready {
    broadcast: Broadcast,
    channel: Channel,
    lane: Option<Arc<Lane>>,
    slot: Option<Slot>,
}

impl Bag {
    fn land(&mut self, joined: std::result::Result<(Id, Outcome), JoinError>) {
        match joined {
            Ok((id, outcome)) => {
                self.aboard.remove(&id);
                self.done.push(outcome);
            }
            // It is found again as one that nobody here is sending.
            Err(error) => drop(self.aboard.remove(&error.id())),
        }
    }
}

/// After a crash nobody knows what became of what was being sent. Answers how many there were.
pub(super) fn recover(conn: &mut Conn, now_ms: i64) -> Result<usize> {
    let stranded = store::sending(conn)?;
    stranded.iter().try_for_each(|broadcast| give_up(conn, broadcast, ("crash", now_ms)))?;
    Ok(stranded.len())
}

fn give_up(conn: &mut Conn, broadcast: &Broadcast, (why, now_ms): (&'static str, i64)) -> Result<()> {
    let next = unknown(tried(broadcast, now_ms), why);
    let attempts = listed(broadcast, None, &next, now_ms);
    store::settle(conn, broadcast, (&next, attempts), now_ms)
}

fn tried(broadcast: &Broadcast, now_ms: i64) -> Tried {
    let &Broadcast { attempt, deadline_ms, mode, .. } = broadcast;
    Tried { attempt, deadline_ms, mode, now_ms }
}

fn listed(broadcast: &Broadcast, status: Option<u16>, next: &Next, now_ms: i64) -> Vec<Attempt> {
    let last = Attempt {
        n: broadcast.attempt,
        started_ms: broadcast.sending_ms.unwrap_or(now_ms),
        ended_ms: now_ms,
        status,
        reason: next.reason.as_ref().map(|reason| reason.clone().into_owned()),
    };
    // The first ones and the last: what is tried for hours is no reason to grow without end.
    broadcast.attempts.iter().take(ATTEMPTS_MAX - 1).cloned().chain([last]).collect()
}

impl Channels {
    pub(super) async fn step(&self) -> Result<Progress> {
        let mut bag = self.0.bag.lock().await;
        while let Some(joined) = bag.flights.try_join_next_with_id() {
            bag.land(joined);
        }
        let settled = self.settle(&mut bag).await?;
        let tidied = self.tidy(&mut bag).await?;
        let (claimed, next_due_ms) = self.claim(&mut bag).await?;
        if settled || tidied || claimed {
            return Ok(Progress::More);
        }
        if bag.flights.is_empty() {
            return Ok(next_due_ms.map_or(Progress::Idle, Progress::Until));
        }
        if let Ok(Some(joined)) = timeout(Duration::from_millis(POLL_MS), bag.flights.join_next_with_id()).await {
            bag.land(joined);
        }
        Ok(Progress::More)
    }

    /// Waits until everything that is on its way is answered and written.
    pub async fn landed(&self) {
        let mut bag = self.0.bag.lock().await;
        loop {
            if let Err(error) = self.settle(&mut bag).await {
                tracing::warn!(%error, "the ends of broadcasts were not written: they are taken up at the next start");
                return;
            }
            match bag.flights.join_next_with_id().await {
                Some(joined) => bag.land(joined),
                None => return,
            }
        }
    }

    /// Writes what has come back, all in one transaction.
    async fn settle(&self, bag: &mut Bag) -> Result<bool> {
        if bag.done.is_empty() {
            return Ok(false);
        }
        let (now_ms, done) = (self.platform().clock.now_ms(), bag.done.clone());
        let platform = self.platform().clone();
        let whim = f64::from(u16::from_le_bytes(self.platform().ids.bytes())) / 65_536.0;
        let written = self.platform().store.write(move |conn| {
            let mut states = Vec::new();
            for Outcome { broadcast, gateway, end } in &done {
                let next = next(tried(broadcast, now_ms), end, Pauses::of(*gateway, &platform.config), whim);
                let status = match end {
                    End::Said { status, .. } => Some(*status),
                    End::Lost(_) | End::Held(_) => None,
                };
                let left = !matches!(end, End::Held(_));
                let attempts = if left { listed(broadcast, status, &next, now_ms) } else { broadcast.attempts.clone() };
                store::settle(conn, broadcast, (&next, attempts), now_ms)?;
                states.push(next.state);
            }
            Ok(states)
        });
        for state in written.await? {
            metrics::counter!("kairos_broadcasts_total", "outcome" => state.word()).increment(1);
        }
        bag.done.clear();
        Ok(true)
    }

    /// Claims what is due and hands it over. Answers whether something moved, and when to look again.
    async fn claim(&self, bag: &mut Bag) -> Result<(bool, Option<i64>)> {
        let (platform, room) = (self.platform(), FLIGHTS_MAX.saturating_sub(bag.aboard.len()));
        let now_ms = platform.clock.now_ms();
        if room == 0 {
            return Ok((false, None));
        }
        let look = move |conn: &mut Conn| {
            let mut due = Vec::new();
            for broadcast in store::due(conn, (now_ms, PER_APP, LOOK))? {
                if let Some(channel) = store::find(conn, broadcast.app_id, broadcast.channel_id)? {
                    due.push((broadcast, channel));
                }
            }
            Ok((due, store::next_due_ms(conn, now_ms)?))
        };
        let (due, next_due_ms) = platform.store.read(look).await?;
        if due.is_empty() {
            return Ok((false, next_due_ms));
        }
        let (late, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|(broadcast, _)| broadcast.deadline_ms <= now_ms);
        let (ready, shut) = self.berths(due, (room, now_ms)).await?;
        if ready.is_empty() && late.is_empty() {
            let comes = self.comes(bag, shut, (now_ms, next_due_ms)).await;
            let soon_ms = now_ms + LATER_MS;
            return Ok((comes, Some(next_due_ms.map_or(soon_ms, |at_ms| at_ms.min(soon_ms)))));
        }
        let wanted: Vec<Broadcast> = ready.iter().map(|ready| ready.broadcast.clone()).collect();
        let start = move |conn: &mut Conn| {
            store::expire(conn, now_ms)?;
            let mut taken = HashSet::new();
            for broadcast in &wanted {
                if store::start(conn, broadcast, now_ms)? {
                    taken.insert(broadcast.id);
                }
            }
            Ok(taken)
        };
        let taken = platform.store.write(start).await?;
        for ready in ready.into_iter().filter(|ready| taken.contains(&ready.broadcast.id)) {
            self.send(bag, ready);
        }
        Ok((true, next_due_ms))
    }

    /// Slots for as many of these as there are at once, and a lane whose connection may be on its way.
    async fn berths(
        &self,
        due: Vec<(Broadcast, Channel)>,
        (room, now_ms): (usize, i64),
    ) -> Result<(Vec<Ready>, Option<Arc<Lane>>)> {
        let (mut ready, mut shut): (Vec<Ready>, Vec<Arc<Lane>>) = (Vec::new(), Vec::new());
        for (broadcast, channel) in due {
            if ready.len() >= room {
                break;
            }
            let lane = match self.0.dispatcher.lane(broadcast.app_id, channel.route(), Some(channel.topic.as_str())).await {
                Ok(lane) => lane,
                Err(Error::Busy(what)) => return Err(Error::Busy(what)),
                // One credential that cannot be read is its app's trouble, not everybody's.
                Err(error) => {
                    tracing::error!(%error, app = %broadcast.app_id, "a credential cannot be used; its broadcasts wait");
                    continue;
                }
            };
            // One that is not there never has a slot; one that had none now has none for the next of its broadcasts.
            if lane.as_ref().is_some_and(|lane| shut.iter().any(|other| Arc::ptr_eq(lane, other))) {
                continue;
            }
            match lane {
                None => ready.push(Ready { broadcast, channel, lane: None, slot: None }),
                Some(lane) => match lane.take((1, false), now_ms).pop() {
                    Some(slot) => ready.push(Ready { broadcast, channel, lane: Some(lane), slot: Some(slot) }),
                    None => shut.push(lane),
                },
            }
        }
        // By turns: a connection that never comes holds up none that does.
        shut.retain(|lane| lane.paused_until_ms(now_ms).is_none());
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed).checked_rem(shut.len()).unwrap_or(0);
        Ok((ready, shut.into_iter().nth(turn)))
    }

    /// Waits a little for a connection, or a token of ours, that is on its way, unless something else happens or is due first.
    /// Answers whether to look again at once.
    async fn comes(&self, bag: &mut Bag, lane: Option<Arc<Lane>>, (now_ms, next_due_ms): (i64, Option<i64>)) -> bool {
        let Some(lane) = lane.filter(|_| bag.flights.is_empty()) else { return false };
        let due = async {
            match next_due_ms {
                Some(due_ms) => self.platform().clock.sleep_until(due_ms).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            comes = lane.comes(now_ms, Instant::now() + ON_ITS_WAY) => {
                // Also what others have in flight there may be in the way: then it is worth no further look at once.
                let slots = if comes { lane.take((1, false), now_ms) } else { Vec::new() };
                lane.give_back(slots.len());
                !slots.is_empty()
            }
            () = self.0.hint.nudged() => true,
            () = due => true,
        }
    }

    /// The last check and the hand-over, in one breath; the answer is awaited beside.
    fn send(&self, bag: &mut Bag, ready: Ready) {
        let Ready { mut broadcast, channel, lane, slot } = ready;
        let clock = self.platform().clock.clone();
        broadcast.attempt += 1;
        broadcast.sending_ms = Some(clock.now_ms());
        let (Some(lane), Some(slot)) = (lane, slot) else {
            let end = End::Held(Held::Impossible("no_credential"));
            return bag.done.push(Outcome { broadcast, gateway: channel.gateway, end });
        };
        let mut shown = None;
        let when = Departure::now(clock.now_ms());
        let handed = slot.hand_over(|| {
            let now_ms = clock.now_ms();
            if now_ms >= broadcast.deadline_ms {
                return Err(Held::Expired);
            }
            let (outgoing, bearer) = match channel.gateway {
                Gateway::Fcm => google::request(&lane, (&broadcast, &channel), now_ms)?,
                Gateway::Apns | Gateway::WebPush => {
                    apple::request(&lane, (&broadcast, &channel), now_ms).map_err(Held::Impossible)?
                }
            };
            shown = Some(bearer);
            Ok(outgoing)
        });
        let end = match (handed, shown) {
            (Ok(flying), Some(bearer)) => {
                let within = Duration::from_millis(self.platform().config.gateway_timeout_ms);
                let id = broadcast.id;
                let flight = bag.flights.spawn(fly((broadcast, lane), (flying, bearer, when), within));
                bag.aboard.insert(flight.id(), id);
                return;
            }
            (Err(HandOver::Refused(held)), _) => End::Held(held),
            (Ok(_) | Err(HandOver::Closed), _) => End::Held(Held::Slotless),
        };
        bag.done.push(Outcome { broadcast, gateway: channel.gateway, end });
    }

    /// Looks, now and then, for what the database alone takes to be on its way, and forgets what is old.
    async fn tidy(&self, bag: &mut Bag) -> Result<bool> {
        let now_ms = self.platform().clock.now_ms();
        if now_ms.abs_diff(bag.tidied_ms) < MINUTE_MS.unsigned_abs() {
            return Ok(false);
        }
        bag.tidied_ms = now_ms;
        let here: HashSet<BroadcastId> = bag.aboard.values().copied().collect();
        let tidy = move |conn: &mut Conn| {
            let strays = store::sending(conn)?.into_iter().filter(|broadcast| !here.contains(&broadcast.id));
            let strays: Vec<Broadcast> = strays.collect();
            strays.iter().try_for_each(|broadcast| give_up(conn, broadcast, ("lost", now_ms)))?;
            store::tidy(conn, (now_ms - KNOWN_MS, now_ms - MAKING_MS))?;
            Ok(!strays.is_empty())
        };
        self.platform().store.write(tidy).await
    }
}

async fn fly(
    (broadcast, lane): (Broadcast, Arc<Lane>),
    (flying, bearer, when): (Flying, HeaderValue, Departure),
    within: Duration,
) -> Outcome {
    let result = flying.answer(within).await;
    let judge = if lane.gateway == Gateway::Fcm { google::judge } else { apple::judge };
    let end = lane.heard_as(result, (&bearer, when), judge);
    if let End::Said { verdict: Verdict::Rejected(reason), .. } = &end {
        tracing::warn!(broadcast = %broadcast.id, %reason, "the gateway refused a broadcast");
    }
    Outcome { broadcast, gateway: lane.gateway, end }
}

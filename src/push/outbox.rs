//! The outbox: messages planned in their decision's transaction, claimed in batches under free stream slots.

use super::dispatch::{Berth, Dispatcher, Planned};
use super::ending::{Next, Tried, unknown};
use super::flights::{Aboard, Flights, Stray};
use super::hand_over::Ready;
use super::lanes::Serves;
use super::message::{Allowed, Attempt, NewMessage, State};
use super::recall;
use super::route::{Queue, Route};
use super::store::{self, Claimed, Due, Row, Stranded};
use super::wish;
use super::{activity, badge};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ConsentId, DecisionId, DeviceId, MessageId, UserId};
use crate::people::consent::{self, Ledger, Purposes, Reason, Standing};
use crate::people::device::{self, Hold};
use crate::planted::{Bug, planted};
use crate::platform::epoch::{self, Scope};
use crate::platform::fence::{Fence, Flight};
use crate::store::Conn;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Inserts a decision's messages in the decision's own transaction. Those due now that find a free stream slot go in as
/// `sending`; give the answer to [`Dispatcher::go`] after the commit. If the transaction fails, drop it: slots and
/// fences come free by that.
///
/// # Errors
/// What the database says.
pub fn plan(conn: &mut Conn, dispatcher: &Dispatcher, mut messages: Vec<NewMessage>, now_ms: i64) -> Result<Planned> {
    badge::settle(conn, &mut messages)?;
    activity::begin(conn, &messages, now_ms)?;
    let mut berths = dispatcher.board(&messages, now_ms);
    unboard_changed(conn, &messages, &mut berths)?;
    let mut planned = Planned::default();
    let mut rows = rows(conn, dispatcher, (&messages, now_ms), |n| berths.get(n).is_some_and(Option::is_some))?;
    let numbers = store::insert(conn, &mut rows)?;
    for ((berth, n), (row, message)) in berths.into_iter().zip(numbers).zip(rows.iter().zip(&messages)) {
        match berth {
            Some(berth) => planned.sends.push(berth.ready(row.claimed(n, message))),
            None => planned.queued = true,
        }
    }
    Ok(planned)
}

/// Lets go of the berths whose user's epoch is no longer what the decision saw, by a consent or a device: the claim looks
/// again. The fences were entered before the epochs are read here.
fn unboard_changed(conn: &mut Conn, messages: &[NewMessage], berths: &mut [Option<Berth>]) -> Result<()> {
    let mut by_app: BTreeMap<AppId, Vec<usize>> = BTreeMap::new();
    for (n, message) in messages.iter().enumerate() {
        if berths.get(n).is_some_and(Option::is_some) {
            by_app.entry(message.app_id).or_default().push(n);
        }
    }
    for (app, numbers) in by_app {
        let of_app = || numbers.iter().filter_map(|n| messages.get(*n).map(|m| (*n, m)));
        let epochs = Epochs::read(conn, app, of_app().map(|(_, m)| m.user_id))?;
        let activities = of_app().filter(|(_, m)| m.activity.is_some()).map(|(_, m)| m.device_id).collect();
        let holders = Holders::read(conn, app, (BTreeSet::new(), activities))?;
        for (n, message) in of_app() {
            let to = (message.device_id, message.user_id, message.token.as_str());
            let same = epochs.are(message.user_id, (message.consent_epoch, message.app_consent_epoch))
                && (message.activity.is_none() || holders.hold(to, true));
            if !same && let Some(berth) = berths.get_mut(n).and_then(Option::take) {
                berth.lane.give_back(1);
            }
        }
    }
    Ok(())
}

/// Who holds which token now, of the devices that were asked for.
struct Holders {
    devices: HashMap<DeviceId, Hold>,
    /// Tokens of Live Activities.
    activities: HashSet<(DeviceId, UserId, String)>,
}

impl Holders {
    fn read(conn: &mut Conn, app: AppId, (devices, activities): (BTreeSet<DeviceId>, BTreeSet<DeviceId>)) -> Result<Self> {
        let all = |of: BTreeSet<DeviceId>| of.into_iter().collect::<Vec<_>>();
        let devices = if devices.is_empty() { HashMap::new() } else { device::holds(conn, app, &all(devices))? };
        let activities =
            if activities.is_empty() { HashSet::new() } else { device::activity::held(conn, app, &all(activities))? };
        Ok(Self { devices, activities })
    }

    /// Whether a device is still this user's with this token (I6).
    fn hold(&self, (device, user, token): (DeviceId, UserId, &str), activity: bool) -> bool {
        let device_holds = |d: &Hold| d.user_id == Some(user) && d.token.as_deref() == Some(token);
        planted(Bug::OldOwner)
            || if activity {
                self.activities.contains(&(device, user, token.to_owned()))
            } else {
                self.devices.get(&device).is_some_and(device_holds)
            }
    }
}

/// The epochs of some users and their app: they move with consents, and with whose a device is and its token.
struct Epochs(HashMap<Scope, i64>);

impl Epochs {
    fn read(conn: &mut Conn, app: AppId, users: impl Iterator<Item = UserId>) -> Result<Self> {
        let users: HashSet<UserId> = users.collect();
        let scopes: Vec<Scope> = users.into_iter().map(Scope::Consent).chain([Scope::AppConsent]).collect();
        epoch::read(conn, app, &scopes).map(Self)
    }

    fn of(&self, user: UserId) -> (i64, i64) {
        let value = |scope| self.0.get(&scope).copied().unwrap_or(0);
        (value(Scope::Consent(user)), value(Scope::AppConsent))
    }

    fn are(&self, user: UserId, stored: (i64, i64)) -> bool {
        self.of(user) == stored
    }
}

/// Puts messages into the outbox as `queued`, with nothing decided about them: for benches.
///
/// # Errors
/// What the database says.
pub fn insert_many(conn: &mut Conn, dispatcher: &Dispatcher, messages: &[NewMessage], now_ms: i64) -> Result<()> {
    let mut rows = rows(conn, dispatcher, (messages, now_ms), |_| false)?;
    store::insert(conn, &mut rows).map(|_| ())
}

/// The rows of these messages, by their places claimed at once or not.
fn rows(
    conn: &mut Conn,
    dispatcher: &Dispatcher,
    (messages, now_ms): (&[NewMessage], i64),
    sending: impl Fn(usize) -> bool,
) -> Result<Vec<Row>> {
    let named = dispatcher.0.lanes.named(conn, messages)?;
    let row = |(n, message): (usize, &NewMessage)| {
        let way = (message.app_id, Route::of(message, dispatcher.config()));
        let key = named.get(&way).zip(message.topic.as_ref()).and_then(|(named, topic)| named.key(topic));
        Row::new(message, &Queue::of(message, way.1, key), (sending(n), now_ms))
    };
    messages.iter().enumerate().map(row).collect()
}

/// Ends what waits of a campaign as `cancelled`, or as `unknown` where it may have arrived. What is being sent goes its way,
/// but is not tried again.
///
/// # Errors
/// What the database says.
pub fn cancel_campaign(conn: &mut Conn, app: AppId, campaign: (CampaignId, &str), now_ms: i64) -> Result<()> {
    store::cancel_campaign(conn, app, campaign, now_ms)
}

/// As [`cancel_campaign`], for what these decisions have said: few enough for one statement. Answers how many were stopped.
///
/// # Errors
/// What the database says.
pub fn cancel_decisions(conn: &mut Conn, app: AppId, of: (&[DecisionId], &str), now_ms: i64) -> Result<usize> {
    store::cancel_decisions(conn, app, of, now_ms)
}

/// As [`cancel_campaign`], for one message; false when it has ended before, or is not there.
///
/// # Errors
/// What the database says.
pub fn cancel(conn: &mut Conn, app: AppId, message: (MessageId, &str), now_ms: i64) -> Result<bool> {
    store::cancel(conn, app, message, now_ms)
}

/// What to claim.
pub(super) struct Claim<'a> {
    pub(super) app: AppId,
    pub(super) queue: &'a Queue,
    pub(super) serves: &'a Serves,
    pub(super) limit: usize,
    pub(super) fence: &'a Fence,
    pub(super) flights: &'a Flights,
    /// Read inside the transaction: waiting for the writer must not make a passed deadline look ahead.
    pub(super) clock: &'a Clock,
}

/// Moves due messages to `sending` and those that may no longer go to their ends.
pub(super) struct Claims {
    pub(super) taken: Vec<(Claimed, Flight, Aboard)>,
    /// Whether some ended here.
    pub(super) ended: bool,
}

pub(super) fn claim(conn: &mut Conn, claim: &Claim<'_>) -> Result<Claims> {
    let &Claim { app, queue, serves, limit, fence, flights, clock } = claim;
    let now_ms = clock.now_ms();
    let mut due = store::due(conn, app, queue, (now_ms, limit))?;
    let moved = leave(conn, (queue, serves), &mut due)?;
    // First of all: whoever withdraws from now on waits for these, or is seen below.
    let mut entered: HashMap<MessageId, Flight> = due.iter().map(|d| (d.id, fence.enter(app, d.user_id))).collect();
    let mut ends = Ends::default();
    due.retain(|d| {
        let alive = d.deadline_ms > now_ms || planted(Bug::NoDeadlineCheck);
        if !alive {
            ends.expired.push(d.n);
        }
        alive
    });
    recall::ask(conn, app, (&mut due, &mut ends.recalls), now_ms)?;
    let epochs = Epochs::read(conn, app, due.iter().map(|d| d.user_id))?;
    consented(conn, app, (&mut due, &mut ends), (&epochs, now_ms))?;
    held(conn, app, (&mut due, &mut ends), &epochs)?;
    let unwanted = wish::ask(conn, app, &mut due, now_ms)?;
    store::end(conn, (&ends.expired, State::Expired, "deadline"), now_ms)?;
    store::end(conn, (&ends.revoked, State::Revoked, "consent"), now_ms)?;
    store::end(conn, (&ends.lapsed, State::Revoked, "consent_expired"), now_ms)?;
    store::end(conn, (&ends.token_dead, State::TokenDead, "token_dead"), now_ms)?;
    store::end(conn, (&ends.recalls, State::Cancelled, recall::NOTHING), now_ms)?;
    let started: Vec<i64> = due.iter().map(|d| d.n).collect();
    if store::start(conn, &started, now_ms)? != started.len() {
        // Somebody else has moved one since it was read: nothing is claimed, the next step looks again.
        return Err(Error::Busy("a message was claimed twice at once"));
    }
    let ended = moved || unwanted || ends.any();
    let taken = due.into_iter().filter_map(|d| {
        let (flight, aboard) = (entered.remove(&d.id)?, flights.board(d.id));
        Some((d.claimed((app, queue), now_ms), flight, aboard))
    });
    let taken = taken.collect();
    Ok(Claims { taken, ended })
}

/// Takes out of the due what another key speaks for, and moves it. Answers whether there was any.
fn leave(conn: &mut Conn, (queue, serves): (&Queue, &Serves), due: &mut Vec<Due>) -> Result<bool> {
    let is_theirs = |d: &mut Due| d.topic.as_deref().is_some_and(|topic| !serves.has(Some(topic)));
    let theirs: Vec<(i64, String)> = due.extract_if(.., is_theirs).filter_map(|d| Some((d.n, d.topic?))).collect();
    to_their_keys(conn, (queue, serves), &theirs)?;
    Ok(!theirs.is_empty())
}

/// Moves messages of these topics, for which another key speaks, to where that one looks.
pub(super) fn to_their_keys(conn: &mut Conn, (queue, serves): (&Queue, &Serves), theirs: &[(i64, String)]) -> Result<()> {
    let mut by_key: BTreeMap<Option<&str>, Vec<i64>> = BTreeMap::new();
    for (n, topic) in theirs {
        by_key.entry(serves.named().and_then(|named| named.key(topic))).or_default().push(*n);
    }
    by_key.iter().try_for_each(|(key, numbers)| store::move_to(conn, numbers, &queue.clone().of_key(*key)))
}

/// Messages that end unsent, by their numbers.
#[derive(Default)]
struct Ends {
    expired: Vec<i64>,
    revoked: Vec<i64>,
    /// Their consent has ended by itself.
    lapsed: Vec<i64>,
    token_dead: Vec<i64>,
    /// Recalls of what was never shown.
    recalls: Vec<i64>,
}

impl Ends {
    fn any(&self) -> bool {
        [&self.expired, &self.revoked, &self.lapsed, &self.token_dead, &self.recalls].into_iter().any(|ids| !ids.is_empty())
    }
}

/// Asks whose tokens these are now, where that may have changed since the decision saw it (I6): whatever binds a device or
/// its token anew moves the epoch of whoever had it. Recalls are planned without a decision, and activities have tokens of
/// their own.
fn held(conn: &mut Conn, app: AppId, (due, ends): (&mut Vec<Due>, &mut Ends), epochs: &Epochs) -> Result<()> {
    let asked = |d: &Due| d.is_activity() || d.recalls().is_some() || !epochs.are(d.user_id, d.epochs);
    let devices = due.iter().filter(|d| asked(d) && !d.is_activity()).map(|d| d.device_id).collect();
    let activities = due.iter().filter(|d| d.is_activity()).map(|d| d.device_id).collect();
    let holders = Holders::read(conn, app, (devices, activities))?;
    due.retain(|d| {
        let alive = !asked(d) || holders.hold((d.device_id, d.user_id, &d.token), d.is_activity());
        if !alive {
            ends.token_dead.push(d.n);
        }
        alive
    });
    Ok(())
}

/// Evaluates consent again where an epoch has moved since the message was allowed, or where a grant has ended by itself.
fn consented(
    conn: &mut Conn,
    app: AppId,
    (due, ends): (&mut Vec<Due>, &mut Ends),
    (epochs, now_ms): (&Epochs, i64),
) -> Result<()> {
    if due.is_empty() || planted(Bug::NoConsentCheck) {
        return Ok(());
    }
    // A recall takes away and says nothing: it needs no consent.
    let stands =
        |d: &Due| d.recalls().is_some() || epochs.are(d.user_id, d.epochs) && d.until_ms.is_none_or(|at_ms| now_ms < at_ms);
    let changed: HashSet<UserId> = due.iter().filter(|d| !stands(d)).map(|d| d.user_id).collect();
    let changed: Vec<UserId> = changed.into_iter().collect();
    if changed.is_empty() {
        return Ok(());
    }
    let ledgers = consent::ledgers(conn, app, &changed)?;
    let purposes = consent::purposes(conn, app)?;
    let nobodys = Ledger::default();
    let mut kept = Vec::with_capacity(due.len());
    for mut message in std::mem::take(due) {
        if stands(&message) {
            kept.push(message);
            continue;
        }
        // Nobody can prove any more why it may go, and it must not hold up its neighbours.
        let Ok(mut allowed) = message.allowed() else {
            tracing::error!(message = %message.id, "a message does not say what it rests on: it is not sent");
            ends.revoked.push(message.n);
            continue;
        };
        let ledger = ledgers.get(&message.user_id).unwrap_or(&nobodys);
        match records((ledger, &purposes), &allowed, now_ms) {
            Ok(records) => {
                allowed.until_ms = ledger.until_ms(&records);
                allowed.consent_ids = records;
                store::allow(conn, message.n, (&allowed, epochs.of(message.user_id)))?;
                message.until_ms = allowed.until_ms;
                kept.push(message);
            }
            Err(Reason::Expired) => ends.lapsed.push(message.n),
            Err(
                Reason::NotGranted
                | Reason::Withdrawn
                | Reason::AskAgain
                | Reason::AgeGate
                | Reason::UnknownPurpose
                | Reason::AccountDisabled,
            ) => ends.revoked.push(message.n),
        }
    }
    *due = kept;
    Ok(())
}

/// The records that allow a message, one for each of its needs that rests on consent; the reason when one is missing.
fn records((ledger, purposes): (&Ledger, &Purposes), allowed: &Allowed, now_ms: i64) -> Result<Vec<ConsentId>, Reason> {
    let mut records = Vec::new();
    for need in allowed.needs() {
        match ledger.standing(purposes, &need, now_ms) {
            Standing::Granted(id) => records.push(id),
            Standing::NotNeeded => {}
            Standing::Refused(reason) => return Err(reason),
        }
    }
    Ok(records)
}

/// After a crash: nobody knows what became of the messages that were `sending`. One process owns the outbox; call it
/// before the first claim. Answers how many there were.
///
/// # Errors
/// What the database says.
pub(super) fn recover(conn: &mut Conn, now_ms: i64) -> Result<usize> {
    let sending = store::sending(conn)?;
    for row in &sending {
        end_unknown(conn, row, ("crash", now_ms))?;
    }
    Ok(sending.len())
}

/// Ends the attempts of messages that are `sending` in the database alone.
pub(super) fn take_up(conn: &mut Conn, sending: &[Stranded], strays: &HashMap<MessageId, Stray>, now_ms: i64) -> Result<()> {
    for row in sending {
        match strays.get(&row.id) {
            Some(Stray::NeverLeft) => {
                let next = Next::held_back(now_ms);
                store::settle_one(conn, &row.settlement(&next, None, now_ms))?;
            }
            Some(Stray::Unknown) => end_unknown(conn, row, ("lost", now_ms))?,
            None => {}
        }
    }
    Ok(())
}

fn end_unknown(conn: &mut Conn, row: &Stranded, (reason, now_ms): (&'static str, i64)) -> Result<()> {
    let tried = Tried { attempt: row.attempt, deadline_ms: row.deadline_ms, mode: row.mode()?, now_ms };
    let tried = if planted(Bug::ResendAfterCrash) { Tried { mode: super::Mode::AtLeastOnce, ..tried } } else { tried };
    let attempt = Attempt {
        n: row.attempt,
        started_ms: row.sending_ms.unwrap_or(now_ms),
        ended_ms: now_ms,
        status: None,
        reason: Some(reason.to_owned()),
    };
    store::settle_one(conn, &row.settlement(&unknown(tried, reason), Some(attempt), now_ms))?;
    Ok(())
}

impl Berth {
    fn ready(self, claimed: Claimed) -> Ready {
        Ready { claimed, aboard: self.aboard, slot: Some(self.slot), flight: self.flight, lane: Some(self.lane) }
    }
}

//! The lanes: each event, for each user whom it concerns, in order: what becomes of it, and which moments it opens.

use super::commit::{self, Hops, Made, stale};
use super::context::{Known, Latency, Question};
use super::input::{Input, Opening};
use super::live::Parts;
use super::store::{self, NewMoment, OpenMoment, WaitingChoice};
use super::supersede::{self, Superseded};
use super::terms::Terms;
use super::trigger;
use super::value::{Span, too_old};
use crate::campaign::{self, LiveKind, Snapshot};
use crate::error::Result;
use crate::event::{self, Disposition, Event, Settlement, Thing, WorkRow};
use crate::id::{AppId, EventId, Ids, MomentId, PlaceId, ThingId, UserId, WorkId};
use crate::people::consent::Need;
use crate::place::{self, Place};
use crate::push;
use crate::store::{Conn, Doc};
use crate::worker::Progress;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Work of one step.
const BATCH: i64 = 256;

/// The work of one app, with everything that is known of it.
pub(super) struct Batch {
    work: Vec<WorkRow>,
    known: Known,
    snapshot: Arc<Snapshot>,
    events: HashMap<EventId, Event>,
    things: HashMap<ThingId, Thing>,
    places: HashMap<PlaceId, Place>,
    useful_ms: HashMap<String, i64>,
    open: Vec<OpenMoment>,
    /// What a newer moment may take back.
    waiting: Vec<WaitingChoice>,
}

/// What became of the work of one app.
pub(super) struct Judged {
    known: Known,
    revision: i64,
    done: Vec<WorkId>,
    settlements: Vec<Settlement>,
    made: Vec<Made>,
    superseded: Vec<Superseded>,
}

/// One step of the lanes.
pub(super) async fn step(parts: &Arc<Parts>) -> Result<Progress> {
    let now_ms = parts.platform.clock.now_ms();
    let limit = parts.lanes.appetite(BATCH);
    let catalogue = parts.catalogue.clone();
    let work = parts.platform.store.read(move |conn| event::work(conn, limit)).await?;
    let ids: Vec<WorkId> = work.iter().map(|w| w.id).collect();
    if work.is_empty() {
        return Ok(Progress::Idle);
    }
    let (rows, began) = (work.clone(), Instant::now());
    let gathered = parts.platform.store.read(move |conn| gather(conn, &catalogue, rows, now_ms)).await;
    let outcome = match gathered {
        Ok(batches) => {
            let judge = |batch| judge(batch, &parts.platform.ids, parts.latency());
            commit(parts, batches.into_iter().map(judge).collect(), now_ms).await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => {
            parts.dispatcher.decided(ids.len(), began.elapsed());
            Ok(Progress::More)
        }
        Err(error) => {
            if parts.lanes.failed(&ids, error)? {
                give_up(parts, work, now_ms).await?;
            }
            Ok(Progress::More)
        }
    }
}

/// Reads everything that the work needs, app by app.
fn gather(conn: &mut Conn, catalogue: &crate::campaign::Catalogue, work: Vec<WorkRow>, now_ms: i64) -> Result<Vec<Batch>> {
    let mut by_app: HashMap<AppId, Vec<WorkRow>> = HashMap::new();
    for row in work {
        by_app.entry(row.app_id).or_default().push(row);
    }
    by_app.into_iter().map(|(app, work)| gather_app(conn, catalogue, (app, work), now_ms)).collect()
}

fn gather_app(
    conn: &mut Conn,
    catalogue: &crate::campaign::Catalogue,
    (app, work): (AppId, Vec<WorkRow>),
    now_ms: i64,
) -> Result<Batch> {
    let snapshot = catalogue.current(conn, app)?;
    let event_ids: BTreeSet<EventId> = work.iter().map(|w| w.event_id).collect();
    let event_ids: Vec<EventId> = event_ids.into_iter().collect();
    let users: BTreeSet<UserId> = work.iter().map(|w| w.user_id).collect();
    let users: Vec<UserId> = users.into_iter().collect();
    let events = event::load(conn, app, &event_ids)?;
    let thing_ids: Vec<ThingId> = events.values().filter_map(|e| e.thing_id).collect();
    let place_ids: Vec<PlaceId> = events.values().flat_map(trigger::place_ids).collect();
    let types: BTreeSet<String> = events.values().map(|e| e.kind.clone()).collect();
    let types: Vec<String> = types.into_iter().collect();
    let kinds: Vec<&Arc<LiveKind>> = types.iter().flat_map(|t| snapshot.kinds_for(t)).collect();
    let terms: Vec<Arc<Terms>> = kinds.iter().flat_map(|k| &k.campaigns).flat_map(Terms::all_of).collect();
    let cool_down_ms = kinds.iter().map(|k| k.spec.cool_down_ms).max().unwrap_or(0);
    let superseding = kinds.iter().any(|k| k.spec.supersede);
    Ok(Batch {
        known: Known::read(conn, app, &users, &terms, now_ms)?,
        things: event::things(conn, app, &thing_ids)?,
        places: place::by_ids(conn, app, &place_ids)?,
        useful_ms: event::max_useful_ages(conn, app, &types)?,
        open: store::moments_of(conn, app, &users, now_ms.saturating_sub(cool_down_ms))?,
        waiting: if superseding { store::not_gone(conn, app, &users)? } else { Vec::new() },
        work,
        snapshot,
        events,
    })
}

/// Judges the work of one app in its order; later work sees what came of earlier.
fn judge(batch: Batch, ids: &Ids, latency: Latency) -> Judged {
    let mut court = Court { batch, ids, latency, made: Vec::new(), superseded: Vec::new() };
    let (mut done, mut settlements) = (Vec::new(), Vec::new());
    for row in std::mem::take(&mut court.batch.work) {
        let Some(event) = court.batch.events.get(&row.event_id).cloned() else {
            done.push(row.id);
            continue;
        };
        let before = court.made.len();
        // What a newer moment takes back of this very batch is not on disk yet: the rest has to wait for the next step.
        let Some(disposition) = court.judge(&event, &row) else { break };
        let decision_ids = court.made[before..].iter().map(|m| m.id).collect();
        settlements.push(Settlement { app_id: row.app_id, event_id: event.id, disposition, decision_ids });
        done.push(row.id);
    }
    let Court { batch, made, superseded, .. } = court;
    Judged { known: batch.known, revision: batch.snapshot.revision, done, settlements, made, superseded }
}

struct Court<'a> {
    batch: Batch,
    ids: &'a Ids,
    latency: Latency,
    made: Vec<Made>,
    superseded: Vec<Superseded>,
}

impl Court<'_> {
    /// What becomes of an event for one user; nothing when it has to wait for what came before it.
    fn judge(&mut self, event: &Event, row: &WorkRow) -> Option<Disposition> {
        let (user, now_ms) = (row.user_id, self.batch.known.now_ms);
        let Some(user_facts) = self.batch.known.facts_of(user) else { return Some(Disposition::UnknownSubject) };
        // They were granted when the event came; they may have been withdrawn since.
        let needs = trigger::needs(event, row.link_partner_id);
        if needs.iter().any(|need| !self.batch.known.standing(user, need).permits()) {
            return Some(Disposition::NoConsent);
        }
        if too_old(event.occurred_ms, now_ms, self.batch.useful_ms.get(&event.kind).copied()) {
            return Some(Disposition::TooOld);
        }
        let mut opening = Vec::new();
        let mut said = Vec::new();
        for kind in self.batch.snapshot.kinds_for(&event.kind) {
            let place = trigger::place_for(&kind.spec.trigger, event, &self.batch.places);
            if !trigger::wants(&kind.spec.trigger, event, place) {
                continue;
            }
            let thing = event.thing_id.and_then(|id| self.batch.things.get(&id));
            let mut facts = trigger::facts(event, place, thing);
            facts.user.clone_from(&user_facts);
            // A rule without an answer does not trigger.
            if kind.rule.as_ref().is_some_and(|rule| !rule.holds(&facts.scope()).unwrap_or(false)) {
                continue;
            }
            let Some(key) = trigger::key(kind, &facts, event, place) else { continue };
            match trigger::standing(&kind.spec, (user, &key, event.test), &self.batch.open, now_ms) {
                Some(disposition) => said.push(disposition),
                None => opening.push((Arc::clone(kind), key, facts)),
            }
        }
        if opening.iter().any(|(kind, ..)| self.must_wait(kind, user)) {
            return None;
        }
        for (kind, key, facts) in opening {
            let mut all = needs.clone();
            let read = self.batch.known.person(user).map(|person| self.batch.known.read_by_trigger(person, &kind));
            all.extend(read.into_iter().flatten().filter(|need| !needs.contains(need)));
            self.open((event, &all), &kind, key, (user, facts));
            said.push(Disposition::Decided);
        }
        // Of several kinds the strongest answer: decided, else joined, else cooling down.
        let rank = |d: &Disposition| match d {
            Disposition::Decided => 2,
            Disposition::Joined => 1,
            _ => 0,
        };
        Some(said.into_iter().max_by_key(rank).unwrap_or(Disposition::NoTrigger))
    }

    fn must_wait(&self, kind: &LiveKind, user: UserId) -> bool {
        kind.spec.supersede && self.made.iter().any(|m| m.user_id == user && m.input.moment.kind == kind.spec.key)
    }

    /// Opens a moment and decides.
    fn open(
        &mut self,
        (event, needs): (&Event, &[Need]),
        kind: &LiveKind,
        key: String,
        (user, mut facts): (UserId, super::input::Facts),
    ) {
        let span = Span { opened_ms: event.occurred_ms, window_ms: kind.spec.window_ms, curve: kind.spec.curve.clone() };
        let (id, closes_ms): (MomentId, i64) = (self.ids.next(), span.closes_ms());
        facts.moment = trigger::moment_facts(&kind.spec.key, &key, (span.opened_ms, closes_ms));
        let context = json!({ "event_type": event.kind, "place": facts.place, "thing": facts.thing["key"] });
        let moment = NewMoment {
            app_id: event.app_id,
            id,
            user_id: user,
            kind: kind.spec.key.clone(),
            key: key.clone(),
            event_id: event.id,
            opened_ms: span.opened_ms,
            closes_ms,
            test: event.test,
            context: Doc(context),
            recall_ms: kind.spec.recall.then_some(closes_ms),
        };
        let mut taken_back = Vec::new();
        if kind.spec.supersede {
            let same = |h: &&WaitingChoice| h.user_id == user && h.kind == kind.spec.key && h.test == event.test;
            let older = |h: &&WaitingChoice| same(h) && h.opened_ms <= span.opened_ms;
            let choices: Vec<WaitingChoice> = self.batch.waiting.iter().filter(older).cloned().collect();
            taken_back.extend(choices.iter().map(|h| h.choice_id));
            self.batch.known.give_back(&choices);
            let (kind, opened_ms) = (kind.spec.key.clone(), span.opened_ms);
            self.superseded.push(Superseded { user_id: user, kind, opened_ms, test: event.test, by: id, choices });
        }
        let terms: Vec<Arc<Terms>> = kind.campaigns.iter().flat_map(Terms::all_of).collect();
        let opening =
            Opening { id: Some(id), kind: kind.spec.key.clone(), key, span, offers_max: kind.spec.max_offers_per_moment };
        let seed = u64::from_be_bytes(self.ids.bytes::<8>());
        let known = &mut self.batch.known;
        let question = Question {
            user_id: user,
            moment: opening,
            facts,
            trigger_needs: needs.to_vec(),
            test: event.test,
            terms: &terms,
            latency: self.latency,
            seed,
            again: None,
            taken_back: &taken_back,
            only: None,
        };
        let Some(input) = known.input(question) else { return };
        let (kind, key) = (moment.kind.clone(), moment.key.clone());
        self.batch.open.push(OpenMoment { user_id: user, kind, key, closes_ms, test: event.test });
        let made = self.decide(event, (moment, input, terms));
        if !event.test {
            self.batch.known.note(user, &made.decision, &made.heard_by());
        }
        self.made.push(made);
    }

    fn decide(&self, event: &Event, (moment, input, terms): (NewMoment, Input, Vec<Arc<Terms>>)) -> Made {
        let hops = Hops {
            occurred_ms: Some(event.occurred_ms),
            received_ms: Some(event.received_ms),
            decided_ms: self.batch.known.now_ms,
        };
        let made = Made::new(self.ids, input, terms, hops);
        Made { event_id: Some(event.id), moment: Some(moment), ..made }
    }
}

/// Writes what was judged, and hands the messages over after the commit.
async fn commit(parts: &Arc<Parts>, judged: Vec<Judged>, now_ms: i64) -> Result<()> {
    let shared = Arc::clone(parts);
    let said: Vec<Disposition> = judged.iter().flat_map(|j| &j.settlements).map(|s| s.disposition).collect();
    let decided: Vec<_> = judged.iter().flat_map(|j| &j.made).map(commit::Written::from).collect();
    let takes_back = judged.iter().any(|j| !j.superseded.is_empty());
    let planned = parts
        .platform
        .store
        .write(move |conn| {
            conn.serialise(commit::LOCK)?;
            let mut messages = Vec::new();
            for app in &judged {
                messages.extend(write(conn, &shared, app, now_ms)?);
            }
            push::outbox::plan(conn, &shared.dispatcher, messages, now_ms)
        })
        .await?;
    commit::written(&parts.platform.stopwatch, &decided);
    parts.dispatcher.go(planned);
    parts.release_hint.nudge();
    if takes_back {
        parts.recall_hint.nudge();
    }
    count(&said);
    Ok(())
}

/// Counts what became of work that is off the lanes, for the figures that the server shows of itself.
fn count(said: &[Disposition]) {
    for disposition in said {
        metrics::counter!("kairos_lane_work_total", "disposition" => disposition.name()).increment(1);
    }
}

fn write(conn: &mut Conn, parts: &Parts, judged: &Judged, now_ms: i64) -> Result<Vec<push::NewMessage>> {
    let app = judged.known.app_id;
    // Somebody else has done this work, or a campaign has stopped since.
    if store::work_left(conn, &judged.done)? != judged.done.len() || !campaign::hold_still(conn, app, judged.revision)? {
        return Err(stale());
    }
    commit::check(conn, &judged.known, &judged.made)?;
    // First what is taken back: the newer decisions may have taken its stock.
    for superseded in &judged.superseded {
        supersede::write(conn, app, superseded, now_ms)?;
    }
    let messages = commit::write(conn, &parts.platform.ids, &judged.known, &judged.made)?;
    event::settle(conn, &judged.settlements, now_ms)?;
    event::done(conn, &judged.done)?;
    Ok(messages)
}

/// Settles work that fails again and again, so that it no longer stands in its lane's way: the event says `failed`, the
/// fault is in the log.
async fn give_up(parts: &Arc<Parts>, work: Vec<WorkRow>, now_ms: i64) -> Result<()> {
    let said = vec![Disposition::Failed; work.len()];
    let settled = parts
        .platform
        .store
        .write(move |conn| {
            let ids: Vec<WorkId> = work.iter().map(|w| w.id).collect();
            // Another node may have managed it meanwhile.
            if store::work_left(conn, &ids)? != ids.len() {
                return Ok(false);
            }
            let settle = |row: &WorkRow| Settlement {
                app_id: row.app_id,
                event_id: row.event_id,
                disposition: Disposition::Failed,
                decision_ids: Vec::new(),
            };
            event::settle(conn, &work.iter().map(settle).collect::<Vec<_>>(), now_ms)?;
            event::done(conn, &ids)?;
            Ok(true)
        })
        .await?;
    if settled {
        count(&said);
    }
    Ok(())
}

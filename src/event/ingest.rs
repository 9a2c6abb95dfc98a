//! One transaction for a batch of events: resolve, judge what can be judged at once, insert, derive, hand to the lanes.

use super::derive::{self, Cause, Derived};
use super::log::{Batch, Outcome};
use super::resolve::{Directory, Reach, Reaches, Who};
use super::store::{self, EventRow, NewWork, Rule};
use super::{Disposition, Item, Location, Source, THING_CHANGED, lane};
use crate::error::{Error, FieldError, Result};
use crate::id::{AppId, EventId, Ids, PartnerId, ThingId, UserId};
use crate::people::profile::{self, AttributeScope};
use crate::place::{self, Kept, Places};
use crate::platform::MasterKey;
use crate::store::Conn;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What the log stands on.
pub(super) struct Floor {
    pub(super) ids: Ids,
    pub(super) places: Places,
    pub(super) future_tolerance_ms: i64,
    /// Knows the tombstones of people who are gone.
    pub(super) master_key: MasterKey,
}

/// One event of a batch with what is known of it.
struct Entry<'a> {
    /// Where its answer goes: (batch, item).
    slot: (usize, usize),
    batch: &'a Batch,
    item: &'a Item,
    source: Source,
    id: EventId,
    who: Who,
    /// Kept only where it may be: of things, and of users who consented.
    location: Option<Location>,
    /// Whether it is about somebody who was erased: then nothing is kept of it but that it came.
    gone: bool,
    /// Whether anything may follow from it.
    acts: bool,
    disposition: Option<Disposition>,
    users: Vec<(UserId, Option<PartnerId>)>,
}

type Rules = HashMap<String, Rule>;

/// Records batches; answers in their order, item by item.
pub(super) fn ingest(conn: &mut Conn, floor: &Floor, batches: &[&Batch]) -> Result<Vec<Vec<Outcome>>> {
    let refused = || Outcome::Refused(FieldError { field: String::new(), code: "invalid", message: String::new() });
    let mut answers: Vec<Vec<Outcome>> = batches.iter().map(|b| vec![refused(); b.items.len()]).collect();
    let mut by_app: BTreeMap<AppId, Vec<usize>> = BTreeMap::new();
    for (n, batch) in batches.iter().enumerate() {
        by_app.entry(batch.app_id).or_default().push(n);
    }
    for (app, numbers) in by_app {
        for (slot, outcome) in ingest_app(conn, floor, app, numbers.into_iter().map(|n| (n, batches[n])).collect())? {
            answers[slot.0][slot.1] = outcome;
        }
    }
    Ok(answers)
}

fn ingest_app(
    conn: &mut Conn,
    floor: &Floor,
    app: AppId,
    batches: Vec<(usize, &Batch)>,
) -> Result<Vec<((usize, usize), Outcome)>> {
    let items = || batches.iter().flat_map(|(_, batch)| &batch.items);
    let moves = items().any(|item| item.location.is_some() || item.subject.may_be_a_thing());
    if moves {
        store::lock(conn, app)?;
    }
    let rules = rules(conn, app, items(), moves)?;
    let speakers = batches.iter().filter_map(|(_, batch)| batch.sender.user());
    let mut directory = Directory::load(conn, app, (items().map(|item| &item.subject), speakers))?;
    let gone = directory.gone(conn, app, (&floor.master_key, items()))?;
    let received_ms = batches.iter().map(|(_, batch)| batch.received_ms).max().unwrap_or(0);
    let mut reaches = Reaches::new(app, received_ms);
    let mut outcomes = Vec::with_capacity(items().count());
    let mut entries = Vec::with_capacity(items().count());
    for (n, batch) in &batches {
        for (m, item) in batch.items.iter().enumerate() {
            let nobody = gone.contains(item.subject_text.as_str());
            let who = directory.find(&item.subject).filter(|_| !nobody).map(|who| Who { test: batch.test, ..who });
            let sender = batch.sender.as_of(|user| directory.user(user));
            match batch.sender.source(item).filter(|_| sender.may_speak_of(&item.subject, who.and_then(|w| w.user_id))) {
                Some(source) => entries.push(Entry {
                    slot: (*n, m),
                    batch,
                    item,
                    source,
                    id: floor.ids.next(),
                    who: who.unwrap_or_default(),
                    location: item.location.filter(|_| !nobody),
                    gone: nobody,
                    acts: true,
                    disposition: who.is_none().then_some(Disposition::UnknownSubject),
                    users: Vec::new(),
                }),
                None => outcomes.push(((*n, m), forbidden())),
            }
        }
    }
    judge(conn, floor, (&rules, &mut reaches), &mut entries)?;
    let written = write(conn, app, &entries)?;
    let mut counts = BTreeMap::new();
    answer(conn, app, (&entries, &written), (&mut outcomes, &mut counts))?;
    entries.retain(|entry| written.contains(&entry.id));
    for entry in &entries {
        if let Some(d @ (Disposition::TooOld | Disposition::FromTheFuture)) = entry.disposition {
            *counts.entry((entry.source.counted(), d.name())).or_insert(0) += 1;
        }
    }
    store::count(conn, app, &counts)?;
    let work = entries.iter().flat_map(|e| e.users.iter().map(|u| work_row(floor, app, e.id, *u))).collect::<Vec<_>>();
    store::insert_work(conn, &work)?;
    if moves {
        let derived = follow(conn, floor, (app, &mut directory), &entries)?;
        let received_ms = entries.iter().map(|e| e.batch.received_ms).max().unwrap_or(0);
        append(conn, floor, (&mut reaches, received_ms), derived)?;
    }
    Ok(outcomes)
}

fn forbidden() -> Outcome {
    let message = "this caller may only send events about itself".to_owned();
    Outcome::Refused(FieldError { field: "subject".to_owned(), code: "forbidden", message })
}

fn rules<'a>(conn: &mut Conn, app: AppId, items: impl Iterator<Item = &'a Item>, moves: bool) -> Result<Rules> {
    let mut kinds: BTreeSet<&str> = items.map(|item| item.kind.as_str()).collect();
    if moves {
        kinds.extend(["place.enter", "place.exit", "place.dwell", THING_CHANGED]);
    }
    store::rules(conn, app, &kinds.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

/// Judges all that the sender's words alone decide, in the order of the law.
fn judge(conn: &mut Conn, floor: &Floor, (rules, reaches): (&Rules, &mut Reaches), entries: &mut [Entry<'_>]) -> Result<()> {
    let asked = entries.iter().filter(|e| e.item.location.is_some() || e.batch.sender.partner().is_some());
    reaches.need_ledgers(conn, asked.filter_map(|e| e.who.user_id))?;
    let rule = |kind: &str| rules.get(kind).copied().unwrap_or_default();
    let linked: Vec<(ThingId, Option<PartnerId>)> = entries
        .iter()
        .filter(|e| e.disposition.is_none() && rule(&e.item.kind).listened)
        .filter_map(|e| Some((e.who.thing_id?, e.batch.sender.partner())))
        .collect();
    reaches.need_links(conn, &linked)?;
    for entry in entries {
        let Batch { received_ms, sender, .. } = entry.batch;
        if entry.who.thing_id.is_none() && !entry.who.user_id.is_some_and(|user| reaches.location(user)) {
            entry.location = None;
        }
        let refused = || {
            let user = entry.who.user_id?;
            let kept = entry.item.location.is_some() == entry.location.is_some();
            (!kept || !reaches.partner(user, sender.partner())).then_some(Disposition::NoConsent)
        };
        let future = entry.item.occurred_ms > received_ms + floor.future_tolerance_ms;
        let early = future.then_some(Disposition::FromTheFuture).or(entry.disposition).or_else(refused);
        if early.is_some() {
            (entry.disposition, entry.acts) = (early, false);
            continue;
        }
        let fate = Fate { who: entry.who, at_ms: entry.item.occurred_ms, sender: sender.partner() };
        let age_ms = received_ms - entry.item.occurred_ms;
        (entry.disposition, entry.users) = fate.judge(rule(&entry.item.kind), age_ms, reaches);
        entry.acts = rule(&entry.item.kind).max_useful_age_ms.is_none_or(|max_ms| age_ms <= max_ms);
    }
    Ok(())
}

/// An event on its way to the lanes, or to its end.
struct Fate {
    who: Who,
    at_ms: i64,
    sender: Option<PartnerId>,
}

impl Fate {
    /// What becomes of it at once, and else whose lanes judge it.
    fn judge(&self, rule: Rule, age_ms: i64, reaches: &Reaches) -> (Option<Disposition>, Vec<(UserId, Option<PartnerId>)>) {
        let reach = if rule.listened { reaches.reach(self.who, self.at_ms, self.sender) } else { Reach::Users(Vec::new()) };
        match reach {
            Reach::NoConsent => (Some(Disposition::NoConsent), Vec::new()),
            Reach::Users(_) if rule.max_useful_age_ms.is_some_and(|max_ms| age_ms > max_ms) => {
                (Some(Disposition::TooOld), Vec::new())
            }
            Reach::Users(users) if users.is_empty() => (Some(Disposition::NoTrigger), users),
            Reach::Users(users) => (None, users),
        }
    }
}

fn write(conn: &mut Conn, app_id: AppId, entries: &[Entry<'_>]) -> Result<HashSet<EventId>> {
    let sources: Vec<String> = entries.iter().map(|entry| entry.source.to_string()).collect();
    let rows: Vec<EventRow<'_>> = entries
        .iter()
        .zip(&sources)
        .map(|(entry, source)| EventRow {
            app_id,
            id: entry.id,
            source,
            external_id: &entry.item.id,
            type_: &entry.item.kind,
            occurred_ms: entry.item.occurred_ms,
            received_ms: entry.batch.received_ms,
            subject: Some(entry.item.subject_text.as_str()).filter(|_| !entry.gone),
            user_id: entry.who.user_id,
            thing_id: entry.who.thing_id,
            device_id: entry.who.device_id,
            partner_id: entry.batch.sender.partner(),
            place_id: None,
            cause_id: None,
            properties: if entry.gone { "{}" } else { &entry.item.text },
            lat: entry.location.map(|l| l.lat),
            lon: entry.location.map(|l| l.lon),
            accuracy_m: entry.location.and_then(|l| l.accuracy_m),
            content_hash: &entry.item.hash,
            test: entry.batch.test,
            disposition: entry.disposition.map(Disposition::name),
            settled_ms: entry.disposition.map(|_| entry.batch.received_ms),
        })
        .collect();
    store::insert(conn, &rows)
}

type Answers<'a> = (&'a mut Vec<((usize, usize), Outcome)>, &'a mut BTreeMap<(String, &'static str), i64>);

/// Says of each event whether it is new, and counts those that are not.
fn answer(
    conn: &mut Conn,
    app: AppId,
    (entries, written): (&[Entry<'_>], &HashSet<EventId>),
    (outcomes, counts): Answers<'_>,
) -> Result<()> {
    let mut old: BTreeMap<(String, bool), Vec<&Entry<'_>>> = BTreeMap::new();
    for entry in entries {
        if written.contains(&entry.id) {
            outcomes.push((entry.slot, Outcome::Accepted(entry.id)));
        } else {
            old.entry((entry.source.to_string(), entry.batch.test)).or_default().push(entry);
        }
    }
    for ((source, test), entries) in old {
        let ids: Vec<&str> = entries.iter().map(|e| e.item.id.as_str()).collect();
        let known = store::known(conn, app, (&source, test), &ids)?;
        let known: HashMap<&str, &store::Known> = known.iter().map(|k| (k.external_id.as_str(), k)).collect();
        for entry in entries {
            let first = known.get(entry.item.id.as_str());
            let first = first.ok_or_else(|| Error::broken("an event was neither written nor known before"))?;
            let (outcome, word) = if first.content_hash == entry.item.hash {
                (Outcome::Duplicate(first.id), "duplicate")
            } else {
                (Outcome::Conflict(first.id), "conflict")
            };
            outcomes.push((entry.slot, outcome));
            *counts.entry((entry.source.counted(), word)).or_insert(0) += 1;
        }
    }
    Ok(())
}

fn work_row(floor: &Floor, app_id: AppId, event_id: EventId, (user_id, link_partner_id): (UserId, Option<PartnerId>)) -> NewWork {
    NewWork { id: floor.ids.next(), app_id, lane: lane(app_id, user_id), user_id, event_id, link_partner_id }
}

/// The declared properties of things, and how long a value must be held before its change counts, in milliseconds.
fn settle_times(conn: &mut Conn, app: AppId) -> Result<HashMap<String, i64>> {
    let declared = profile::attributes(conn, app)?.into_iter();
    let of_things = declared.filter(|attribute| attribute.scope == AttributeScope::Thing);
    Ok(of_things.map(|attribute| (attribute.key, attribute.settle_ms.unwrap_or(0))).collect())
}

/// Lets new events move their subjects, and writes where those stand now.
fn follow(
    conn: &mut Conn,
    floor: &Floor,
    (app, directory): (AppId, &mut Directory),
    entries: &[Entry<'_>],
) -> Result<Vec<Derived>> {
    let mut causes: BTreeMap<String, (Who, Vec<Cause<'_>>)> = BTreeMap::new();
    for entry in entries.iter().filter(|e| e.acts && (e.location.is_some() || e.who.thing_id.is_some())) {
        let Some(track) = entry.who.track_id() else { continue };
        causes.entry(track).or_insert_with(|| (entry.who, Vec::new())).1.push(Cause {
            id: entry.id,
            partner_id: entry.batch.sender.partner(),
            who: entry.who,
            occurred_ms: entry.item.occurred_ms,
            location: entry.location,
            properties: &entry.item.properties,
        });
    }
    if causes.is_empty() {
        return Ok(Vec::new());
    }
    let index = floor.places.index(conn, app)?;
    let settle_times = settle_times(conn, app)?;
    let before = place::tracks(conn, app, &causes.keys().cloned().collect::<Vec<_>>())?;
    let mut after = before.clone();
    let (mut derived, mut kept, mut moved_things) = (Vec::new(), Vec::new(), Vec::new());
    let mut users = HashMap::new();
    for (subject, (who, causes)) in causes {
        let Some(track) = after.get_mut(&subject) else { continue };
        // What a test key says of a thing is not what is known of it.
        let thing_id = who.thing_id.filter(|_| !who.test);
        let thing = thing_id.and_then(|id| directory.things.get_mut(&id));
        derived.extend(derive::follow(&index, &settle_times, (track, thing), causes));
        moved_things.extend(thing_id);
        users.insert(subject, who.user_id);
    }
    for (subject, after) in &after {
        let user_id = users.get(subject).copied().flatten();
        kept.extend(before.get(subject).filter(|b| *b != after).map(|before| Kept {
            subject_id: subject,
            user_id,
            before,
            after,
        }));
    }
    place::keep(conn, app, &index, &kept)?;
    let things: Vec<_> = moved_things.iter().filter_map(|id| directory.things.get(id)).collect();
    store::save_things(conn, app, &things)?;
    Ok(derived)
}

/// Appends what was derived to the log and hands it to the lanes.
pub(super) fn append(
    conn: &mut Conn,
    floor: &Floor,
    (reaches, received_ms): (&mut Reaches, i64),
    derived: Vec<Derived>,
) -> Result<()> {
    if derived.is_empty() {
        return Ok(());
    }
    let app_id = reaches.app();
    let kinds: BTreeSet<&str> = derived.iter().map(|d| d.kind).collect();
    let rules = store::rules(conn, app_id, &kinds.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
    let rule = |kind: &str| rules.get(kind).copied().unwrap_or_default();
    let listened = || derived.iter().filter(|d| rule(d.kind).listened);
    reaches.need_ledgers(conn, listened().filter(|d| d.partner_id.is_some()).filter_map(|d| d.who.user_id))?;
    let linked: Vec<_> = listened().filter_map(|d| Some((d.who.thing_id?, d.partner_id))).collect();
    reaches.need_links(conn, &linked)?;
    let source = Source::Kairos.to_string();
    let subjects: Vec<Option<String>> = derived.iter().map(|d| d.who.subject_id()).collect();
    let (mut rows, mut work, mut counts) = (Vec::with_capacity(derived.len()), Vec::new(), BTreeMap::new());
    for (d, subject) in derived.iter().zip(&subjects) {
        let id: EventId = floor.ids.next();
        let fate = Fate { who: d.who, at_ms: d.at_ms, sender: d.partner_id };
        let (disposition, users) = fate.judge(rule(d.kind), received_ms - d.at_ms, reaches);
        if disposition == Some(Disposition::TooOld) {
            *counts.entry((source.clone(), Disposition::TooOld.name())).or_insert(0) += 1;
        }
        work.extend(users.into_iter().map(|user| work_row(floor, app_id, id, user)));
        rows.push(EventRow {
            app_id,
            id,
            source: &source,
            external_id: &d.external_id,
            type_: d.kind,
            occurred_ms: d.at_ms,
            received_ms,
            subject: subject.as_deref(),
            user_id: d.who.user_id,
            thing_id: d.who.thing_id,
            device_id: d.who.device_id,
            partner_id: d.partner_id,
            place_id: d.place_id,
            cause_id: d.cause_id,
            properties: &d.properties,
            lat: None,
            lon: None,
            accuracy_m: None,
            content_hash: "",
            test: d.who.test,
            disposition: disposition.map(Disposition::name),
            settled_ms: disposition.map(|_| received_ms),
        });
    }
    let written = store::insert(conn, &rows)?;
    work.retain(|row| written.contains(&row.event_id));
    store::insert_work(conn, &work)?;
    store::count(conn, app_id, &counts)
}

//! What follows from an event: transitions at places, and changes of a thing's declared properties. Pure.

use super::resolve::Who;
use super::settle;
use super::store::Thing;
use super::{Location, THING_CHANGED, content};
use crate::id::{EventId, PartnerId, PlaceId};
use crate::place::geometry::Point;
use crate::place::index::Index;
use crate::place::track::{Class, Fix, Moved, Track};
use crate::place::transition::Kind;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// How many properties a thing keeps: what comes beyond is in its events only.
const PROPERTIES_MAX: usize = 200;

/// An event that follows from another, or from the clock.
pub(super) struct Derived {
    pub(super) cause_id: Option<EventId>,
    pub(super) partner_id: Option<PartnerId>,
    pub(super) who: Who,
    pub(super) kind: &'static str,
    pub(super) at_ms: i64,
    pub(super) place_id: Option<PlaceId>,
    pub(super) properties: String,
    pub(super) external_id: String,
}

/// One event about a subject, as far as something may follow from it.
pub(super) struct Cause<'a> {
    pub(super) id: EventId,
    pub(super) partner_id: Option<PartnerId>,
    pub(super) who: Who,
    pub(super) occurred_ms: i64,
    pub(super) location: Option<Location>,
    pub(super) properties: &'a Map<String, Value>,
}

/// Judges a subject's events in time order; its track and its thing move on.
pub(super) fn follow(
    index: &Index,
    settle_times: &HashMap<String, i64>,
    (track, thing): (&mut Track, Option<&mut Thing>),
    mut causes: Vec<Cause<'_>>,
) -> Vec<Derived> {
    let mut out = Vec::new();
    causes.sort_by_key(|cause| cause.occurred_ms);
    let mut thing = thing;
    for cause in causes {
        if let Some(location) = cause.location {
            let class = if cause.who.thing_id.is_some() { Class::Thing } else { Class::Phone };
            let point = Point { lat: location.lat, lon: location.lon };
            let Location { accuracy_m, .. } = location;
            let fix = Fix { at_ms: cause.occurred_ms, point, accuracy_m, partner_id: cause.partner_id };
            let moved = track.see(index, class, fix).unwrap_or_default();
            out.extend(moved.into_iter().map(|m| transition(index, cause.who, m, Some(cause.id))));
        }
        if let Some(thing) = thing.as_deref_mut() {
            out.extend(changes(&cause, settle_times, thing, || track.inside(index)));
        }
    }
    out
}

/// A transition as an event.
pub(super) fn transition(index: &Index, who: Who, moved: Moved, cause_id: Option<EventId>) -> Derived {
    let Moved { place_id, step, partner_id } = moved;
    let mut properties = Map::new();
    properties.insert("place_id".to_owned(), json!(place_id));
    if let Some(key) = index.get(place_id).and_then(|place| place.key.clone()) {
        properties.insert("place_key".to_owned(), json!(key));
    }
    match step.kind {
        Kind::Enter { initial } => drop(properties.insert("initial".to_owned(), json!(initial))),
        Kind::Exit { inferred } => drop(properties.insert("inferred".to_owned(), json!(inferred))),
        Kind::Dwell => {}
    }
    let kind = step.kind.event_type();
    Derived {
        cause_id,
        partner_id,
        who,
        kind,
        at_ms: step.at_ms,
        place_id: Some(place_id),
        properties: content::canonical(&properties),
        // The same transition has the same name, however it is found again.
        external_id: format!("{kind}:{place_id}:{}:{}", who.track_id().unwrap_or_default(), step.at_ms),
    }
}

/// The changes that an event makes to what is declared of its thing; `inside` tells the places that it is in.
fn changes(
    cause: &Cause<'_>,
    settle_times: &HashMap<String, i64>,
    thing: &mut Thing,
    inside: impl Fn() -> Vec<PlaceId>,
) -> Vec<Derived> {
    let mut out = Vec::new();
    let newest = thing.seen_ms.is_none_or(|seen| cause.occurred_ms >= seen);
    for (property, value) in cause.properties {
        // A blank says nothing: what was known last stays known.
        if value.is_null() {
            continue;
        }
        if newest && (thing.properties.contains_key(property) || thing.properties.len() < PROPERTIES_MAX) {
            thing.properties.insert(property.clone(), value.clone());
        }
        let Some(settle_ms) = settle_times.get(property) else { continue };
        let mut held = thing.held.remove(property);
        let change = settle::see(&mut held, value, cause.occurred_ms, *settle_ms);
        thing.held.extend(held.map(|held| (property.clone(), held)));
        if let Some(settle::Change { from, to }) = change {
            let places = inside();
            let properties = json!({ "property": property, "from": from, "to": to, "places": places });
            out.push(Derived {
                cause_id: Some(cause.id),
                partner_id: cause.partner_id,
                who: cause.who,
                kind: THING_CHANGED,
                at_ms: cause.occurred_ms,
                place_id: places.first().copied(),
                properties: properties.to_string(),
                external_id: format!("{THING_CHANGED}:{}:{property}", cause.id),
            });
        }
    }
    thing.seen_ms = thing.seen_ms.max(Some(cause.occurred_ms));
    out
}

//! Which kinds of moment an event opens, under which key, and what rules see of it. Pure.

use super::input::Facts;
use super::store::OpenMoment;
use crate::campaign::{Kind, LiveKind, Trigger};
use crate::clock::Time;
use crate::event::{Disposition, Event, THING_CHANGED, Thing};
use crate::id::{PartnerId, PlaceId, UserId};
use crate::people::consent::{LOCATION, Need, PARTNER_EVENTS};
use crate::place::Place;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The type of the event that says that somebody has come to a place.
const PLACE_ENTER: &str = "place.enter";

/// The place of an event: for a change of a thing one of those that the thing is inside of.
pub(super) fn place_for<'a>(trigger: &Trigger, event: &Event, places: &'a HashMap<PlaceId, Place>) -> Option<&'a Place> {
    let fits = |place: &&Place| {
        (trigger.place_tags.is_empty() || place.tags.iter().any(|tag| trigger.place_tags.contains(tag)))
            && (trigger.place_ids.is_empty() || trigger.place_ids.contains(&place.id))
    };
    place_ids(event).into_iter().filter_map(|id| places.get(&id)).find(fits)
}

/// Every place that an event names.
pub(super) fn place_ids(event: &Event) -> Vec<PlaceId> {
    let mut ids: Vec<PlaceId> = event.place_id.into_iter().collect();
    if event.kind == THING_CHANGED {
        let inside = event.properties.get("places").and_then(Value::as_array).into_iter().flatten();
        ids.extend(inside.filter_map(Value::as_str).filter_map(|id| id.parse::<PlaceId>().ok()));
    }
    ids.dedup();
    ids
}

/// Whether an event opens a moment of this kind, as far as the trigger's own fields say; its rule is asked apart.
pub(super) fn wants(trigger: &Trigger, event: &Event, place: Option<&Place>) -> bool {
    let property = |name: &str| event.properties.get(name).unwrap_or(&Value::Null);
    let named_place = !trigger.place_tags.is_empty() || !trigger.place_ids.is_empty();
    event.kind == trigger.event_type
        && (!named_place || place.is_some())
        && trigger.property.as_deref().is_none_or(|wanted| property("property").as_str() == Some(wanted))
        && trigger.from.as_ref().is_none_or(|wanted| wanted.matches(property("from")))
        && trigger.to.as_ref().is_none_or(|wanted| wanted.matches(property("to")))
        && (event.kind != PLACE_ENTER || trigger.include_initial || property("initial").as_bool() != Some(true))
}

/// What a user has to have granted for an event to be matched with them. A fix of theirs and what followed from it need
/// `location`; what a partner said, and a link that a partner made, need that partner's `partner_events`. The position of
/// a thing is nobody's.
pub(super) fn needs(event: &Event, link_partner: Option<PartnerId>) -> Vec<Need> {
    let of_person = event.user_id.is_some() && (event.location.is_some() || event.place_id.is_some());
    let second = link_partner.filter(|partner| event.partner_id != Some(*partner));
    let partners = [event.partner_id, second].into_iter().flatten();
    let location = of_person.then(|| Need::of(LOCATION));
    location.into_iter().chain(partners.map(|partner| Need::of_partner(PARTNER_EVENTS, partner))).collect()
}

/// Longest key that a rule may give, in bytes.
const KEY_BYTES_MAX: usize = 200;

/// What tells this moment apart from others of its kind; nothing when the rule has no answer.
pub(super) fn key(kind: &LiveKind, facts: &Facts, event: &Event, place: Option<&Place>) -> Option<String> {
    if let Some(rule) = &kind.moment_key {
        // An index holds keys of bounded length, and a text of the database has no U+0000.
        return rule.key(&facts.scope()).ok().filter(|key| key.len() <= KEY_BYTES_MAX && !key.contains('\0'));
    }
    let place = place.map(|p| p.id.to_string());
    Some(place.or_else(|| event.thing_id.map(|id| id.to_string())).unwrap_or_default())
}

/// Whether a user's moments of this kind and key let another one open.
pub(super) fn standing(
    kind: &Kind,
    (user, key, test): (UserId, &str, bool),
    open: &[OpenMoment],
    now_ms: i64,
) -> Option<Disposition> {
    let same = |m: &&OpenMoment| m.user_id == user && m.kind == kind.key && m.key == key && m.test == test;
    let closes_ms = open.iter().filter(same).map(|m| m.closes_ms).max()?;
    if now_ms < closes_ms {
        Some(Disposition::Joined)
    } else if now_ms < closes_ms.saturating_add(kind.cool_down_ms) {
        Some(Disposition::CoolDown)
    } else {
        None
    }
}

/// What rules and templates see of an event, without the user and the moment.
pub(super) fn facts(event: &Event, place: Option<&Place>, thing: Option<&Thing>) -> Facts {
    Facts {
        user: Value::Null,
        event: json!({
            "id": event.id,
            "type": event.kind,
            "source": event.source,
            "occurred_at": Time(event.occurred_ms),
            "received_at": Time(event.received_ms),
            "partner_id": event.partner_id,
            "location": event.location,
            "properties": event.properties,
        }),
        moment: Value::Null,
        place: place.map_or(Value::Null, |p| json!({ "id": p.id, "key": p.key, "name": p.name, "tags": p.tags })),
        thing: thing.map_or(Value::Null, |t| json!({ "id": t.id, "key": t.key, "class": t.class, "properties": t.properties })),
    }
}

/// What rules and templates see of a moment.
pub(super) fn moment_facts(kind: &str, key: &str, (opened_ms, closes_ms): (i64, i64)) -> Value {
    json!({ "kind": kind, "key": key, "opened_at": Time(opened_ms), "closes_at": Time(closes_ms) })
}

//! One subject on the map: its newest fix, how well it has been seen, and where it stands with each place near it.

use super::geometry::{Point, distance_m};
use super::index::Index;
use super::transition::{Kind, Sight, Stand, Step};
use crate::id::{PartnerId, PlaceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Faster than this is no phone but a bad fix, in metres per second.
const PHONE_SPEED_MAX: f64 = 100.0;

/// How many sights are remembered: they only matter for places that were reshaped since.
const SIGHTS_KEPT: usize = 8;

/// A position at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fix {
    /// When, in UTC milliseconds.
    pub at_ms: i64,
    /// Where.
    pub point: Point,
    /// How good, in metres; unknown when absent.
    pub accuracy_m: Option<f64>,
    /// The partner that sent it; kept with the visits that it is part of, not with the position.
    pub partner_id: Option<PartnerId>,
}

/// What kind of subject moves; decides the speed filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A user's phone.
    Phone,
    /// A thing: aircraft are fast.
    Thing,
}

/// When a subject was seen how well: later ones are less accurate, else the earlier would not be kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sights(Vec<(i64, f64)>);

/// A transition at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The place.
    pub place_id: PlaceId,
    /// What and when.
    pub step: Step,
    /// The partner behind the positions from which this follows.
    pub partner_id: Option<PartnerId>,
}

/// One subject's standing with all places. Absent from `stands`: outside, or never seen by that place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Track {
    /// The newest fix judged, until its coordinates are forgotten.
    pub last: Option<Fix>,
    /// How well it has been seen.
    pub sights: Sights,
    /// Where it is in, half-way in or out, or was closed.
    pub stands: BTreeMap<PlaceId, Stand>,
    /// The partner behind each visit: of those that sent a position of it the last. The app's own take nothing away.
    pub partners: BTreeMap<PlaceId, PartnerId>,
}

impl Sights {
    fn add(&mut self, fix: &Fix) {
        let accuracy_m = fix.accuracy_m.unwrap_or(0.0);
        self.0.retain(|(_, earlier_m)| *earlier_m < accuracy_m);
        if self.0.len() == SIGHTS_KEPT {
            self.0.remove(0);
        }
        self.0.push((fix.at_ms, accuracy_m));
    }

    /// The time of the newest fix: of all, since it is never dropped for a better one.
    fn newest_ms(&self) -> Option<i64> {
        self.0.last().map(|(at_ms, _)| *at_ms)
    }

    /// Whether a fix at or after `from_ms` was at least this accurate.
    fn any(&self, from_ms: i64, accuracy_m: f64) -> bool {
        self.0.iter().find(|(at_ms, _)| *at_ms >= from_ms).is_some_and(|(_, best_m)| *best_m <= accuracy_m)
    }
}

impl Track {
    /// Judges a fix against all places. `None`: late, the same time again, or impossibly fast, so it counts in no pair.
    pub fn see(&mut self, index: &Index, class: Class, fix: Fix) -> Option<Vec<Moved>> {
        let late = self.sights.newest_ms().is_some_and(|newest_ms| fix.at_ms <= newest_ms);
        if late || self.last.as_ref().is_some_and(|last| class == Class::Phone && speed(last, &fix) > PHONE_SPEED_MAX) {
            return None;
        }
        let mut moved = Vec::new();
        let here = index.at(fix.point);
        let away: Vec<PlaceId> = self.stands.keys().filter(|id| !here.iter().any(|place| place.id == **id)).copied().collect();
        for (place, inside) in here
            .into_iter()
            .map(|place| (place, true))
            .chain(away.iter().filter_map(|id| index.get(*id)).map(|place| (place, false)))
        {
            if fix.accuracy_m.is_some_and(|m| m > place.shape.coarse_limit_m()) {
                continue;
            }
            let sure = fix.accuracy_m.is_some_and(|m| place.shape.edge_distance_m(fix.point) > m);
            let before = self.stands.get(&place.id).copied().unwrap_or_else(|| {
                let seen = self.sights.any(place.shaped_ms, place.shape.coarse_limit_m());
                if seen { Stand::Outside } else { Stand::Unknown }
            });
            // What is due by now follows from the positions before this one, and only the rest from this one too.
            let mut steps = Vec::new();
            let waited = before.tick(place.terms, fix.at_ms, &mut steps);
            self.move_on(place.id, (waited, steps), &mut moved);
            let mut steps = Vec::new();
            let after = waited.see(place.terms, Sight { at_ms: fix.at_ms, inside, sure }, &mut steps);
            self.partners.extend(fix.partner_id.map(|partner| (place.id, partner)));
            self.move_on(place.id, (after, steps), &mut moved);
        }
        self.sights.add(&fix);
        self.last = Some(fix);
        moved.sort_by_key(|m| (m.step.at_ms, m.place_id));
        Some(moved)
    }

    /// Lets the clock fire what is due. Places that are gone are forgotten without a word.
    pub fn tick(&mut self, index: &Index, now_ms: i64) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (place_id, before) in std::mem::take(&mut self.stands) {
            let Some(place) = index.get(place_id) else {
                self.partners.remove(&place_id);
                continue;
            };
            let mut steps = Vec::new();
            let after = before.tick(place.terms, now_ms, &mut steps);
            self.move_on(place_id, (after, steps), &mut moved);
        }
        moved.sort_by_key(|m| (m.step.at_ms, m.place_id));
        moved
    }

    /// The places that the subject is in, smallest first.
    pub fn inside(&self, index: &Index) -> Vec<PlaceId> {
        let mut places: Vec<(f64, PlaceId)> = self
            .stands
            .iter()
            .filter(|(_, stand)| stand.is_inside())
            .filter_map(|(id, _)| index.get(*id).map(|place| (place.shape.enclosing_circle().1, *id)))
            .collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        places.into_iter().map(|(_, id)| id).collect()
    }

    /// Writes where it stands with a place now, and how it got there. The partner is forgotten with the visit.
    fn move_on(&mut self, place_id: PlaceId, (stand, steps): (Stand, Vec<Step>), moved: &mut Vec<Moved>) {
        let partner_id = self.partners.get(&place_id).copied();
        moved.extend(steps.into_iter().map(|step| Moved { place_id, step, partner_id }));
        match stand {
            // What is true of nearly every pair needs no row.
            Stand::Unknown | Stand::Outside => {
                self.stands.remove(&place_id);
                self.partners.remove(&place_id);
            }
            Stand::Closed { .. } => {
                self.stands.insert(place_id, stand);
                self.partners.remove(&place_id);
            }
            Stand::Entering { .. } | Stand::Inside(_) => {
                self.stands.insert(place_id, stand);
            }
        }
    }
}

impl Kind {
    /// The type of the event that a transition is.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Enter { .. } => "place.enter",
            Self::Exit { .. } => "place.exit",
            Self::Dwell => "place.dwell",
        }
    }
}

fn speed(from: &Fix, to: &Fix) -> f64 {
    let seconds = (to.at_ms - from.at_ms) as f64 / 1000.0;
    distance_m(from.point, to.point) / seconds
}

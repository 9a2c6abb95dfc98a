//! Enter, exit and dwell of one subject at one place: a state machine that sees fixes in time order, and the clock.

use serde::{Deserialize, Serialize};

/// How long a place remembers that it closed a silent visit, in milliseconds: later fixes from before that are no pair.
const CLOSED_KEPT_MS: i64 = crate::clock::DAY_MS;

/// A place's own times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A visit of this length fires `dwell`, in milliseconds.
    pub dwell_ms: i64,
    /// A silence of this length ends a visit, in milliseconds.
    pub stale_after_ms: i64,
}

/// One fix as one place sees it. Fixes too coarse for the place are not shown to it at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// When, in UTC milliseconds.
    pub at_ms: i64,
    /// Which side of the edge; on it is inside.
    pub inside: bool,
    /// Whether it lies on that side by more than its accuracy, so that one fix is enough.
    pub sure: bool,
}

/// Where a subject stands with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "s", rename_all = "lowercase")]
pub enum Stand {
    /// Never seen by this place.
    Unknown,
    /// Seen, and not in.
    Outside,
    /// One fix inside, which wants a second.
    Entering {
        /// That fix.
        since_ms: i64,
        /// Whether it was the first sight.
        initial: bool,
    },
    /// In.
    Inside(Visit),
    /// A silent visit was closed at this time; fixes from before it count no more.
    Closed {
        /// The time of the inferred exit.
        at_ms: i64,
    },
}

/// A stay at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The enter.
    pub since_ms: i64,
    /// The newest fix.
    pub last_ms: i64,
    /// The first fix outside, which wants a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving_ms: Option<i64>,
    /// What became of the dwell.
    pub dwell: Dwell,
}

/// The dwell of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dwell {
    /// Not yet due.
    Waiting,
    /// Has fired.
    Fired,
    /// A fix outside was seen before it was due: this visit has none.
    Barred,
}

/// What a transition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The subject came in.
    Enter {
        /// It was inside when the place first saw it.
        initial: bool,
    },
    /// The subject went out.
    Exit {
        /// It fell silent; nobody saw it leave.
        inferred: bool,
    },
    /// The subject stayed.
    Dwell,
}

/// A transition and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What happened.
    pub kind: Kind,
    /// When, in UTC milliseconds: the first fix of the pair, or the due time.
    pub at_ms: i64,
}

impl Stand {
    /// Shows the place a fix, newer than all before it.
    #[must_use]
    pub fn see(self, terms: Terms, sight: Sight, steps: &mut Vec<Step>) -> Self {
        let stand = self.tick(terms, sight.at_ms, steps);
        let next = match stand {
            Self::Closed { at_ms } if sight.at_ms < at_ms => stand,
            Self::Unknown | Self::Outside | Self::Closed { .. } if sight.inside => {
                let initial = stand == Self::Unknown;
                if sight.sure {
                    enter(sight.at_ms, sight, initial, steps)
                } else {
                    Self::Entering { since_ms: sight.at_ms, initial }
                }
            }
            Self::Unknown | Self::Outside | Self::Closed { .. } => Self::Outside,
            Self::Entering { since_ms, initial } if sight.inside => enter(since_ms, sight, initial, steps),
            Self::Entering { .. } => Self::Outside,
            Self::Inside(visit) if sight.inside => Self::Inside(Visit { last_ms: sight.at_ms, leaving_ms: None, ..visit }),
            Self::Inside(visit) => leave(visit, sight, steps),
        };
        // A pair may have taken longer than the dwell.
        next.tick(terms, sight.at_ms, steps)
    }

    /// Lets time pass: fires what is due at or before `now_ms`. At the same instant a silent visit closes first.
    #[must_use]
    pub fn tick(self, terms: Terms, now_ms: i64, steps: &mut Vec<Step>) -> Self {
        match self {
            Self::Unknown | Self::Outside => self,
            Self::Closed { at_ms } if now_ms - at_ms >= CLOSED_KEPT_MS => Self::Outside,
            Self::Closed { .. } => self,
            Self::Entering { since_ms, .. } if now_ms - since_ms >= terms.stale_after_ms => Self::Outside,
            Self::Entering { .. } => self,
            Self::Inside(mut visit) => {
                let (dwell_ms, stale_ms) = (visit.since_ms + terms.dwell_ms, visit.last_ms + terms.stale_after_ms);
                if visit.dwell == Dwell::Waiting && dwell_ms <= now_ms && dwell_ms < stale_ms {
                    visit.dwell = Dwell::Fired;
                    steps.push(Step { kind: Kind::Dwell, at_ms: dwell_ms });
                }
                if stale_ms <= now_ms {
                    steps.push(Step { kind: Kind::Exit { inferred: true }, at_ms: stale_ms });
                    return Self::Closed { at_ms: stale_ms };
                }
                Self::Inside(visit)
            }
        }
    }

    /// When the clock alone will change something.
    pub fn due_ms(self, terms: Terms) -> Option<i64> {
        match self {
            Self::Unknown | Self::Outside => None,
            Self::Closed { at_ms } => Some(at_ms + CLOSED_KEPT_MS),
            Self::Entering { since_ms, .. } => Some(since_ms + terms.stale_after_ms),
            Self::Inside(visit) => {
                let stale_ms = visit.last_ms + terms.stale_after_ms;
                let dwell_ms = (visit.dwell == Dwell::Waiting).then_some(visit.since_ms + terms.dwell_ms);
                Some(dwell_ms.map_or(stale_ms, |d| d.min(stale_ms)))
            }
        }
    }

    /// Whether the subject counts as being there; half-way out is still in.
    pub fn is_inside(self) -> bool {
        match self {
            Self::Inside(_) => true,
            Self::Unknown | Self::Outside | Self::Entering { .. } | Self::Closed { .. } => false,
        }
    }
}

fn enter(since_ms: i64, sight: Sight, initial: bool, steps: &mut Vec<Step>) -> Stand {
    steps.push(Step { kind: Kind::Enter { initial }, at_ms: since_ms });
    Stand::Inside(Visit { since_ms, last_ms: sight.at_ms, leaving_ms: None, dwell: Dwell::Waiting })
}

fn leave(visit: Visit, sight: Sight, steps: &mut Vec<Step>) -> Stand {
    if sight.sure || visit.leaving_ms.is_some() {
        steps.push(Step { kind: Kind::Exit { inferred: false }, at_ms: visit.leaving_ms.unwrap_or(sight.at_ms) });
        return Stand::Outside;
    }
    let dwell = if visit.dwell == Dwell::Waiting { Dwell::Barred } else { visit.dwell };
    Stand::Inside(Visit { last_ms: sight.at_ms, leaving_ms: Some(sight.at_ms), dwell, ..visit })
}

//! Which question is worth asking now, out of what a user could be asked: the one that decides most. Pure.

use crate::id::{CampaignId, OfferId};
use std::collections::{BTreeMap, HashMap};

/// After so many times a question that was passed over is never asked again.
const SKIPS_MAX: i64 = 3;
/// How much more a refusal of the user's own says than one of somebody else in the app, or than an offer that nobody was
/// refused yet.
const OWN_WEIGHT: u64 = 10;

/// An offer of a campaign.
pub(in crate::moment) type Offered = (CampaignId, OfferId);
/// How the candidates of the latest decisions were refused at the audience, by offer.
pub(in crate::moment) type Refused = HashMap<Offered, Refusals>;

/// How often an offer was refused at the audience.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::moment) struct Refusals {
    /// Because something was not known.
    pub missing: u64,
    /// Because it was not meant for the user.
    pub outside: u64,
}

/// A question that was put to a user, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::moment) struct Asked {
    /// The attribute asked for.
    pub attribute: String,
    /// When it was put.
    pub asked_ms: i64,
    /// Whether it is the last one and was not passed over.
    pub open: bool,
    /// How often it was passed over.
    pub skips: i64,
    /// When it was passed over last.
    pub skipped_ms: Option<i64>,
}

/// What an answer would change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::moment) struct Worth {
    /// Live offers whose rules read it.
    pub offers: u64,
    /// Refusals of these offers for want of it, of this user lately.
    pub mine: u64,
    /// The same of all users.
    pub all: u64,
}

impl Worth {
    /// One more offer that depends on it. Where its rules ask with `has()`, a user who lacks it was out of the audience
    /// for want of it; of others that cannot be told here.
    pub fn add(&mut self, (offer, asked): (Offered, bool), (mine, all): (&Refused, &Refused)) {
        let (mine, all) = (mine.get(&offer).copied().unwrap_or_default(), all.get(&offer).copied().unwrap_or_default());
        self.offers += 1;
        self.mine += mine.missing + if asked { mine.outside } else { 0 };
        self.all += all.missing;
    }

    fn score(self) -> u64 {
        self.offers + OWN_WEIGHT * self.mine + self.all
    }
}

/// Now, and the app's spans of time.
#[derive(Debug, Clone, Copy)]
pub(in crate::moment) struct Pace {
    /// UTC milliseconds.
    pub now_ms: i64,
    /// For how long a question stays the only one.
    pub cool_down_ms: i64,
    /// For how long one that was passed over is not asked again.
    pub skip_ms: i64,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::moment) enum Next {
    /// Nothing now.
    Nothing,
    /// Still this attribute.
    Still(String),
    /// This attribute from now on.
    New(String),
}

/// Chooses among the attributes that this user could be asked for.
pub(in crate::moment) fn choose(worth: &BTreeMap<String, Worth>, asked: &[Asked], pace: Pace) -> Next {
    let last = asked.iter().max_by_key(|one| (one.asked_ms, one.open));
    // A clock that was set back begins no new question.
    if let Some(last) = last.filter(|last| pace.now_ms < last.asked_ms.saturating_add(pace.cool_down_ms)) {
        let still = last.open && worth.contains_key(&last.attribute);
        return if still { Next::Still(last.attribute.clone()) } else { Next::Nothing };
    }
    let rests = |attribute: &str| asked.iter().any(|one| one.attribute == attribute && one.rests(pace));
    let may = worth.iter().filter(|(attribute, worth)| worth.score() > 0 && !rests(attribute));
    // Of equals the first by name.
    match may.rev().max_by_key(|(_, worth)| worth.score()) {
        Some((attribute, _)) => Next::New(attribute.clone()),
        None => Next::Nothing,
    }
}

impl Asked {
    fn rests(&self, pace: Pace) -> bool {
        let lately = self.skipped_ms.is_some_and(|at_ms| pace.now_ms < at_ms.saturating_add(pace.skip_ms));
        self.skips >= SKIPS_MAX || lately
    }
}

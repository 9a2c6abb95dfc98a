//! Survivors compete: those that can go now first, then the highest score, ties by the byte order of the id. Pure.

use super::cap::{self, Planned};
use super::decision::{Choice, Decision, Fate, Outcome, Reason, Tried};
use super::input::{Heard, Input};
use super::message;
use super::permission::{Permit, Trial};
use super::refusal::{Gate, GateVerdict, Refusal, Refused};
use super::terms::{Terms, Views};
use crate::campaign::Class;
use crate::push::Content;
use std::cmp::Ordering;
use std::sync::Arc;

/// Without an experiment every response is taken for certain.
const RESPONSE_WITHOUT_EXPERIMENT: f64 = 1.0;

/// `value(t') × P(response) × weight`, multiplied in this order.
pub fn score(value: f64, response: f64, weight: f64) -> f64 {
    value * response * weight
}

/// A candidate that may win.
struct Survivor {
    /// Its place in the input's list.
    n: usize,
    permit: Permit,
    score: f64,
}

/// The competition as it goes.
struct Contest<'a> {
    input: &'a Input,
    terms: &'a [Arc<Terms>],
    candidates: Vec<Tried>,
    choices: Vec<Choice>,
    winners: Vec<usize>,
    beside: Vec<Heard>,
}

/// Lets the candidates that passed the gates compete.
pub fn compete(input: &Input, terms: &[Arc<Terms>], trials: Vec<Trial>, views: &Views<'_>) -> Decision {
    let mut survivors = Vec::new();
    let mut candidates = Vec::with_capacity(trials.len());
    for (n, (trial, terms)) in trials.into_iter().zip(terms).enumerate() {
        let mut score_of = None;
        if let Ok(permit) = trial.result {
            let score = score(permit.value, RESPONSE_WITHOUT_EXPERIMENT, terms.offer.weight);
            score_of = Some(score);
            survivors.push(Survivor { n, permit, score });
        }
        let fate = if score_of.is_some() { Fate::Outscored } else { Fate::Refused };
        candidates.push(Tried {
            version: input.candidates[n].version,
            partner_id: terms.offer.partner_id,
            gates: trial.gates,
            score: score_of,
            result: fate,
        });
    }
    survivors.sort_by(|a, b| order(input, a, b));
    let mut contest = Contest { input, terms, candidates, choices: Vec::new(), winners: Vec::new(), beside: Vec::new() };
    for survivor in survivors {
        contest.turn(survivor, views);
    }
    contest.end()
}

fn order(input: &Input, a: &Survivor, b: &Survivor) -> Ordering {
    let id = |s: &Survivor| (input.candidates[s.n].version.offer_id, input.candidates[s.n].version.campaign_id);
    a.permit.held.cmp(&b.permit.held).then(b.score.total_cmp(&a.score)).then_with(|| id(a).cmp(&id(b)))
}

impl Contest<'_> {
    /// One survivor's turn: it wins, it has lost, or it is refused after all and the turn passes on.
    fn turn(&mut self, survivor: Survivor, views: &Views<'_>) {
        let n = survivor.n;
        if let Some(lost) = self.lost(n) {
            self.candidates[n].result = lost;
            return;
        }
        match self.words(&survivor, views) {
            Ok(words) => self.win(survivor, words),
            Err(refusal) => self.refuse(n, refusal),
        }
    }

    fn lost(&self, n: usize) -> Option<Fate> {
        if self.winners.len() >= usize::try_from(self.input.moment.offers_max).unwrap_or(usize::MAX) {
            return Some(Fate::Outscored);
        }
        let version = |n: usize| self.input.candidates[n].version;
        let group = |n: usize| self.terms[n].offer.exclusive_group.as_deref();
        self.winners.iter().find_map(|w| {
            if version(*w).offer_id == version(n).offer_id {
                Some(Fate::SameOffer)
            } else if version(*w).campaign_id == version(n).campaign_id {
                Some(Fate::SameCampaign)
            } else if group(n).is_some() && group(*w) == group(n) {
                Some(Fate::SameGroup)
            } else {
                None
            }
        })
    }

    /// What is reserved for the chosen alone, in score order: room under the caps beside the winners so far. Then words.
    fn words(&self, survivor: &Survivor, views: &Views<'_>) -> Result<Vec<Content>, Refused> {
        let terms = &self.terms[survivor.n];
        if terms.offer.class != Class::Critical {
            let planned = Planned { at_ms: survivor.permit.planned_ms, beside: &self.beside };
            cap::check(self.input, terms, self.input.candidates[survivor.n].version.campaign_id, &planned)?;
        }
        let candidate = &self.input.candidates[survivor.n];
        let (view, collapse_id) = (views.of(candidate), candidate.collapse_id.as_deref());
        let devices = survivor.permit.devices.iter().map(|n| &self.input.user.devices[*n]);
        devices.map(|device| message::words(self.input, (terms, collapse_id), device, view)).collect()
    }

    fn refuse(&mut self, n: usize, Refused { reason, field, detail }: Refused) {
        let tried = &mut self.candidates[n];
        tried.result = Fate::Refused;
        let gate = reason.gate();
        tried.gates.retain(|g| g.gate < gate);
        tried.gates.push(GateVerdict { field, detail, ..GateVerdict::refused(gate, reason) });
    }

    fn win(&mut self, survivor: Survivor, words: Vec<Content>) {
        let Survivor { n, permit, score: _ } = survivor;
        let (version, offer) = (self.input.candidates[n].version, &self.terms[n].offer);
        let critical = offer.class == Class::Critical;
        let tried = &mut self.candidates[n];
        tried.result = if permit.held { Fate::Held } else { Fate::Chosen };
        if !permit.held {
            tried.gates.push(GateVerdict::passed(Gate::Message));
        }
        if !critical {
            let category = offer.category.clone();
            self.beside.push(Heard { campaign_id: version.campaign_id, category, planned_ms: permit.planned_ms });
        }
        self.winners.push(n);
        self.choices.push(Choice {
            campaign_id: version.campaign_id,
            offer_id: version.offer_id,
            planned_ms: permit.planned_ms,
            held: permit.held,
            deadline_ms: permit.deadline_ms,
            category: offer.category.clone(),
            critical,
            consent_ids: permit.consent_ids,
            devices: permit.devices.iter().map(|d| self.input.user.devices[*d].id).collect(),
            words,
        });
    }

    fn end(self) -> Decision {
        let Self { candidates, choices, .. } = self;
        let outcome = match choices.iter().map(|c| if c.held { Outcome::Held } else { Outcome::Chosen }).min() {
            Some(outcome) => outcome,
            None => Outcome::Silent,
        };
        let reason = (outcome == Outcome::Silent).then(|| silence(&candidates));
        Decision { outcome, reason, candidates, choices }
    }
}

/// The refusal of the candidate that came furthest; of several the first.
fn silence(candidates: &[Tried]) -> Reason {
    let refusals = candidates.iter().filter_map(|c| c.gates.last()).filter_map(|g| g.reason.map(|r| (g.gate, r)));
    let mut furthest: Option<(Gate, Refusal)> = None;
    for (gate, refusal) in refusals {
        if furthest.is_none_or(|(best, _)| gate > best) {
            furthest = Some((gate, refusal));
        }
    }
    furthest.map_or(Reason::NoCandidate, |(_, refusal)| Reason::Refused(refusal))
}

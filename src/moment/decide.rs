//! The decision itself, a pure function of its stored input: live traffic, releases and every re-run call this.

use super::choice::compete;
use super::decision::{Decision, Outcome, Reason};
use super::input::Input;
use super::permission::try_candidate;
use super::terms::{Terms, Views};
use crate::planted::{Bug, planted_now_and_then};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Leads every candidate through the gates and lets the survivors compete. `terms` are those of the input's candidates,
/// in the same order and of the same versions.
///
/// It always answers: a fault of ours is a silence with the reason `failed`, so that one user's candidates never stop
/// the others'.
pub fn decide(input: &Input, terms: &[Arc<Terms>]) -> Decision {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let views = Views::new(input);
        let trials = input.candidates.iter().zip(terms).map(|(c, t)| try_candidate(input, c, t, views.of(c))).collect();
        compete(input, terms, trials, &views)
    }));
    if planted_now_and_then(Bug::UnstableDecision) {
        return Decision { outcome: Outcome::Silent, reason: Some(Reason::Failed), candidates: Vec::new(), choices: Vec::new() };
    }
    made.unwrap_or_else(|_| Decision {
        outcome: Outcome::Silent,
        reason: Some(Reason::Failed),
        candidates: Vec::new(),
        choices: Vec::new(),
    })
}

//! All SQL of the room: moments, decisions, choices, the versions they were made from, and what is read for them.

mod choice;
mod feedback;
mod gather;
mod read;
mod run;
mod write;

pub(super) use choice::{HeldRow, cancel_held, due_held, held_of_kind, next_due_ms, release};
pub(super) use feedback::{Ended, ended, give_back, mark_settled, outcome_of, stop_counting};
pub(super) use gather::{OpenMoment, heard, latest_choices, lock_decisions, moments_of, statuses, stock_left};
pub(super) use read::{ChoiceRow, DecisionRow, Filter, choices_of, counts, decision, decisions, input_of};
pub(super) use run::{Run, advance, due_runs, next_run_ms, targets};
pub(super) use write::{NewChoice, NewDecision, NewMoment, insert_choices, insert_decisions, insert_moments, keep_versions, reserve, version};

//! All SQL of the room: moments, decisions, choices, the versions they were made from, and what is read for them.

mod choice;
mod feedback;
mod gather;
mod inbox;
mod message;
mod question;
mod read;
mod recall;
mod receipt;
mod write;

pub(super) use choice::{
    HeldRow, Release, WaitingChoice, due_held, next_due_ms, not_cancelled, not_gone, release, update_outcome, waiting_of_kind,
};
pub(super) use feedback::{Ended, ended, mark_settled, states_of, stop_counting};
pub(super) use gather::{OpenMoment, heard, latest_choices, met, moments_of, work_left};
pub(super) use inbox::{Mark, Owner, Shelf, chosen_of, inbox, mark, marks, standing_before, unread};
pub(super) use message::{MessageFilter, MessageRow, first_hops, message, messages, messages_by_id};
pub(super) use question::{asked, note_asked, note_skipped, refused};
pub(super) use read::{
    ChoiceRow, DecisionRow, Filter, MomentRow, choices_of, count_decisions, count_messages, decision, decision_ids, decisions,
    faults, input_of, message_ids, moments, pushes_there, release_input_of,
};
pub(super) use recall::{
    CampaignRecall, bring_recalls_forward, campaign_recall, due_moments, held_of_decision, messages_of, next_recall_ms,
    note_walked, open_walk, put_campaign_recall, recalls_done, shown_by, walked,
};
pub(super) use receipt::{ReceiptRow, insert_receipts, lock_receipts, receipts, receivers};
pub(super) use write::{
    NewChoice, NewDecision, NewMoment, insert_choices, insert_decisions, insert_moments, keep_versions, version,
};

//! Out to phones: outbox, gateways, verdicts. Knows nothing of campaigns.
//!
//! A message is planned in its decision's own transaction, claimed under a free stream slot, checked one last time with
//! the slot in hand, handed over, and settled in batches by what the gateway said ([`Verdict`]).

pub mod apns;
pub mod fcm;
mod message;
pub mod retry;
pub mod standin;
pub mod verdict;

pub use crate::people::device::Environment;
pub use message::{Allowed, Attempt, Content, Gateway, Mode, NewMessage, Push, Stamp, State, fits, render};
pub use verdict::Verdict;

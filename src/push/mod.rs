//! Out to phones: outbox, gateways, verdicts. Knows nothing of campaigns.
//!
//! A message is planned in its decision's own transaction, claimed under a free stream slot, checked one last time with
//! the slot in hand, handed over, and settled in batches by what the gateway said ([`Verdict`]).

pub mod apns;
pub mod credentials;
mod dispatch;
pub mod ending;
pub mod fcm;
mod flights;
mod hand_over;
pub mod http;
mod lane;
pub mod latency;
mod look;
mod message;
pub mod outbox;
pub mod personal;
pub mod retry;
mod route;
mod settle;
pub mod standin;
mod store;
pub mod verdict;
pub mod wish;

pub use crate::people::device::Environment;
pub use dispatch::{Dispatcher, Planned};
pub use message::{Allowed, Attempt, Content, Gateway, Mode, NewMessage, Push, Stamp, State, fits, render};
pub use route::Route;
pub use verdict::Verdict;

//! Out to phones: outbox, gateways, verdicts. Knows nothing of campaigns.
//!
//! A message is planned in its decision's own transaction, claimed under a free stream slot, checked one last time with
//! the slot in hand, handed over, and settled in batches by what the gateway said ([`Verdict`]).

#[macro_use]
mod word;

pub mod activity;
mod advice;
pub mod apns;
mod badge;
pub mod breaker;
pub mod channel;
pub mod content;
pub mod credentials;
mod dispatch;
mod edge;
pub mod ending;
pub mod fcm;
mod flights;
mod gauges;
mod hand_over;
pub mod health;
pub mod http;
mod lane;
mod lanes;
pub mod latency;
mod look;
mod message;
mod news;
pub mod outbox;
pub mod pace;
pub mod personal;
pub mod proof;
mod pulse;
pub mod recall;
pub mod retry;
mod room;
mod route;
pub mod sealing;
mod sending;
mod settle;
pub mod share;
pub mod standin;
mod store;
mod traffic;
pub mod verdict;
pub mod warnings;
pub mod webpush;
pub mod window;
pub mod wish;

pub use crate::people::device::Environment;
pub use content::Content;
pub use dispatch::{Dispatcher, Planned};
pub use message::{Allowed, Attempt, Gateway, Mode, NewMessage, Push, Stamp, State, badge_of, render, render_as};
pub use route::{Queue, Route};
pub use sealing::CLEAR;
pub use verdict::Verdict;

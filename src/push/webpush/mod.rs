//! Browsers' push services: one request per push, encrypted for one subscription, signed with a key of the app's own
//! (RFC 8030, 8291, 8292).
//!
//! There are many of them, and each has its own queue, connections and pauses: one that is down holds up no other.

mod client;
pub mod credential;
mod encrypt;
mod payload;
mod pool;
pub mod vapid;
mod verdict;

pub use client::{Client, Sealed};
pub use encrypt::{BODY_LIMIT_BYTES, Fresh, PLAINTEXT_LIMIT_BYTES, Recipient, encrypt};
pub(in crate::push) use encrypt::{body_bytes, padding};
pub use payload::{NORMAL, head, render};
pub use pool::pool;
pub use verdict::{Errno, Judged, judge, verdict};

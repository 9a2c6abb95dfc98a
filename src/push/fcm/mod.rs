//! Google's push service, HTTP v1: one request per push, under an access token that a service account buys.

mod android;
mod client;
mod credentials;
mod payload;
mod quota;
mod verdict;

pub(in crate::push) use android::is_named;
pub use client::Client;
pub use credentials::{AccessToken, AccessTokens, Refused, ServiceAccount, exchange};
pub(in crate::push) use payload::count;
pub use payload::{PAYLOAD_LIMIT_BYTES, render, size_bytes};
pub use quota::{Quota, Quotas, Rates};
pub use verdict::{ErrorCode, judge, lets_in, verdict};

/// The gateway.
pub const GATEWAY: &str = "fcm.googleapis.com";

//! Google's push service, HTTP v1: one request per push, under an access token that a service account buys.

mod client;
mod credentials;
mod payload;
mod verdict;

pub use client::Client;
pub use credentials::{AccessToken, ServiceAccount};
pub use payload::{PAYLOAD_LIMIT_BYTES, render, size_bytes};
pub use verdict::{ErrorCode, judge, verdict};

/// The gateway.
pub const GATEWAY: &str = "fcm.googleapis.com";

//! Apple's push service: one request per push, signed with the app's own key.

mod client;
mod credentials;
mod payload;
mod verdict;

pub use client::Client;
pub use credentials::{ProviderKey, ProviderToken};
pub use payload::{PAYLOAD_LIMIT_BYTES, render};
pub use verdict::{Reason, judge, verdict};

/// The gateway for apps from the store.
pub const PRODUCTION: &str = "api.push.apple.com";
/// The gateway for development builds.
pub const SANDBOX: &str = "api.sandbox.push.apple.com";

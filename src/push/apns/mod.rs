//! Apple's push service: one request per push, signed with the app's own key.

mod client;
mod credentials;
mod payload;
mod probe;
mod verdict;

pub use client::Client;
pub use credentials::{ProviderKey, ProviderToken, ProviderTokens};
pub use payload::{PAYLOAD_LIMIT_BYTES, render};
pub use probe::of_key;
pub use verdict::{Reason, ends, judge, reason, verdict};

/// The gateway for apps from the store.
pub const PRODUCTION: &str = "api.push.apple.com";
/// The gateway for development builds.
pub const SANDBOX: &str = "api.sandbox.push.apple.com";
/// Apple's word for a token that it does not know here, in our spelling.
pub const BAD_DEVICE_TOKEN: &str = "bad_device_token";

/// Apple's word for a topic that a key may not push to, in our spelling.
pub const TOPIC_DISALLOWED: &str = "topic_disallowed";

/// Where channels of broadcasts are made and deleted: beside the gateway, on a port of its own.
#[derive(Debug, Clone, Copy)]
pub struct ManageHost {
    /// Host name.
    pub host: &'static str,
    /// TCP port.
    pub port: u16,
    /// Both.
    pub authority: &'static str,
}

/// The host for channels of apps from the store.
pub const MANAGE_PRODUCTION: ManageHost =
    ManageHost { host: "api-manage-broadcast.push.apple.com", port: 2196, authority: "api-manage-broadcast.push.apple.com:2196" };
/// The host for channels of development builds.
pub const MANAGE_SANDBOX: ManageHost = ManageHost {
    host: "api-manage-broadcast.sandbox.push.apple.com",
    port: 2195,
    authority: "api-manage-broadcast.sandbox.push.apple.com:2195",
};

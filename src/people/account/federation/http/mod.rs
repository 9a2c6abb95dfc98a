//! `/v1/identity-providers`, `/v1/auth/id-token`, `/v1/me/identities`, `/v1/auth/apple/notifications`.

pub mod mine;
pub mod notices;
pub mod providers;
pub mod sign;

//! Tenants, their settings and their API keys; the extractors that say which key may call a route.

mod caller;
mod cors;
mod create;
pub mod http;
mod key;
mod keys;
mod legal;
mod quota;
mod scope;
mod settings;
mod store;

pub(crate) use caller::bearer;
pub use caller::{PartnerKey, PublishableKey, ServerKey};
pub use cors::{Origins, cors};
pub use create::{Created, create};
pub use key::{Key, KeyKind, Mint, Mode, NewKey};
pub use keys::{KEYS_TOPIC, Keys, Verified};
pub use legal::{AgeGate, Controller, check_jurisdiction};
pub use quota::Quotas;
pub(crate) use quota::{count, count_events};
pub use scope::{Scope, Scopes};
pub use settings::{Cap, Caps, QuietHours, Settings, TimeOfDay};
pub use store::{any, mint, name, partner_keys, revoke, settings};

//! Tenants, their settings, their API keys and operators; the extractors that say who may call a route.

mod caller;
mod cors;
mod create;
pub mod http;
mod key;
mod keys;
mod legal;
mod operator;
mod passkeys;
mod quota;
mod scope;
mod settings;
mod store;

pub(crate) use caller::bearer;
pub use caller::{BackOffice, PartnerKey, PublishableKey, Who};
pub use cors::{Origins, cors};
pub use create::{Created, create};
pub use key::{Key, KeyKind, Mint, Mode, NewKey};
pub use keys::{KEYS_TOPIC, Keys, Verified};
pub use legal::{AgeGate, Controller, check_jurisdiction};
pub use operator::{Invitation, Invited, Newcomer, OperatorToken, Role, accepted_step, disable, invite, list, reset};
pub use passkeys::{AndroidApp, Passkeys};
pub use quota::Quotas;
pub(crate) use quota::{count, count_events};
pub use scope::{Scope, Scopes};
pub(crate) use settings::is_locale;
pub use settings::{Cap, Caps, QuietHours, Settings, TimeOfDay};
pub use store::{any, every, mint, name, partner_keys, revoke, settings};

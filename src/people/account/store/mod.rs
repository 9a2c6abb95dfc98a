//! Queries on accounts, sessions, single-use secrets and signing keys.

mod challenges;
mod emails;
mod keys;
mod passwords;
mod sessions;
mod users;

pub(super) use challenges::{Found, NewChallenge, consume, find, insert_challenge, supersede, take_try};
pub(super) use emails::{email_of, oldest_claim, own_email, owner};
pub(super) use keys::{insert_signing_key, public_keys, signing_key};
pub(super) use passwords::{Credential, account, claim, drop_password, has_password, set_password};
pub use sessions::keep_open;
pub(super) use sessions::{End, Session, end_session, insert_session, name_session, open_sessions, others, refresh, session};
pub(super) use users::{User, insert_user, upgrade_user, user};

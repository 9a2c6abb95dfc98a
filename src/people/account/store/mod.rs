//! Queries on accounts, sessions, second factors, single-use secrets and signing keys.

mod challenges;
mod emails;
mod factors;
mod foreign;
mod keys;
mod passkeys;
mod passwords;
mod sessions;
mod users;

pub(super) use challenges::{
    Found, NewChallenge, challenge, consume, find, insert_challenge, newest, supersede, take_try, use_up_all,
};
pub(super) use emails::{
    disown_email, email_of, emails_of, hold_email, insert_emails, oldest_claim, own_email, owned, owner, person_of,
};
pub(super) use factors::{
    Totp, codes_left, drop_codes, drop_factors, drop_totp, insert_totp, put_codes, take_code, take_step, totp,
};
pub(super) use foreign::{ForeignRow, foreign, foreign_claim, foreign_claimed, foreign_neighbour, insert_foreign, put_foreign};
pub(super) use keys::{StoredKey, insert_signing_key, public_keys, retire_key, signing_keys};
pub(super) use passkeys::{Passkey, drop_passkey, insert_passkey, name_passkey, note_use, passkey_of, passkeys, second_factors};
pub(super) use passwords::{Credential, account, claim, drop_password, has_own_password, has_password, holder, set_password};
pub use sessions::keep_open;
pub(super) use sessions::{
    End, Session, end_of, end_session, hold_sessions, insert_session, name_session, open_sessions, others, refresh, session,
};
pub use users::{Search, hold_user};
pub(super) use users::{
    User, arrived, arriving, insert_user, locale, search, set_claims, set_disabled, standings, touch, upgrade_user, user,
};

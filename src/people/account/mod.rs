//! Accounts: sign-up, sign-in, sessions and their tokens.
//!
//! No answer tells whether an e-mail address has an account. Until somebody has shown that they read its mail, an address
//! is a claim, and the account is named by the pair (e-mail, password): sign-up with a pair that exists signs in, sign-up
//! with any other pair makes an account of its own, also when the address is known already; the address then gets a mail.
//! The answers have one shape, and each attempt costs exactly one password hash, because the salt is the same for all
//! accounts of one address: a keyed hash of the address, secret like the master key.
//!
//! Accounts that another system had bring their passwords along: [`foreign`] says how, and what keeps the answers alike.
//!
//! Whoever shows that they read the mail of an address gets the account that it leads to ([`proof`] says which, and what
//! ends then). Every way in ends in [`arrival`], which asks for a second factor where there is one; every way out in
//! [`departure`]. What is mailed, and what stands between two steps, is a [`challenge`].

//! Locks, on PostgreSQL, in this order, so that nobody waits in a circle: the `identity`, the `email`, the `account`
//! ([`hold_user`]: everything that changes how a user comes in, or lets somebody in as them), the `session`s by
//! their ids ([`keep_open`], `end_session`), then rows, and last the `mail`. Whatever is read before its lock was taken
//! is read again after it. Two kinds of row come before all locks, because they say which ones to take: the secrets of
//! an address alone (`sign_in`, `reset_password`) and what a passkey has to sign; no transaction that holds an account
//! asks for one of them.

mod access;
mod arrival;
mod caller;
mod challenge;
mod departure;
mod factor;
pub mod federation;
pub(in crate::people) mod foreign;
mod grant;
pub mod http;
mod impersonation;
pub mod keyring;
mod letter;
mod limit;
mod methods;
mod password;
pub mod personal;
mod proof;
mod refresh;
mod seen;
mod signer;
mod store;
mod vouch;

pub use crate::platform::Hasher;
pub use access::{Accounts, SESSIONS_TOPIC};
pub use caller::UserToken;
pub use factor::totp::totp_step;
pub use federation::{Federation, revoke_apple};
pub use grant::{AccountPatch, Grant};
pub use letter::tell_of_erasure;
pub use methods::{Method, Methods};
pub use password::{check_email, check_password};
pub use refresh::{Life, Presented, SessionState, Verdict, judge};
pub use seen::{Account, accounts_of, address_of, person_of, search};
pub use store::{Search, hold_user, keep_open};

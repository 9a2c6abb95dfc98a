//! Merges: an anonymous user has signed in to an account, and their history becomes the account's.
//!
//! The sign-in ends the anonymous session and calls [`begin`] in its own transaction; the rest is done behind it by
//! `privacy`, which says by which rules. From the end of the merge on, and while it is under way, the anonymous user's id
//! means the account: events that are still on their way find it ([`meant`]).

pub mod personal;
mod store;

pub use store::Begun;

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::store::Conn;
use std::collections::HashMap;

/// Asks for an anonymous user's history to become an account's. Answers false, and does nothing, when the first is not
/// anonymous or is leaving already, when the other is not there, or when both are the same.
///
/// # Errors
/// What the database says.
pub fn begin(conn: &mut Conn, app: AppId, (from, into): (UserId, UserId), now_ms: i64) -> Result<bool> {
    store::begin(conn, app, (from, into), now_ms)
}

/// The account that each of these ids of merged users means.
///
/// # Errors
/// What the database says.
pub fn meant(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, UserId>> {
    store::meant(conn, app, users)
}

/// The merge that is to be worked on next.
///
/// # Errors
/// What the database says.
pub fn next(conn: &mut Conn, now_ms: i64) -> Result<Option<Begun>> {
    store::next(conn, now_ms)
}

/// Notes that what decides moves now, and hides the anonymous user.
///
/// # Errors
/// What the database says.
pub fn start(conn: &mut Conn, merge: &Begun, now_ms: i64) -> Result<()> {
    store::start(conn, merge, now_ms)
}

/// Lets a merge rest until a time.
///
/// # Errors
/// What the database says.
pub fn postpone(conn: &mut Conn, merge: &Begun, until_ms: i64) -> Result<()> {
    store::postpone(conn, merge, until_ms)
}

/// Notes that everything has moved.
///
/// # Errors
/// What the database says.
pub fn end(conn: &mut Conn, merge: &Begun, now_ms: i64) -> Result<()> {
    store::end(conn, merge, now_ms)
}

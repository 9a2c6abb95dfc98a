//! What this room holds about one person: exported, erased, handed on. Contents are secrets of an hour, not data about
//! somebody; they are wiped by themselves.

use super::{Entry, store};
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::store::Conn;

/// Most mails of one person in an export: what the limits let through in 30 days is less.
const EXPORT_MAX: i64 = 10_000;

/// That there were mails to this user, the oldest first.
///
/// # Errors
/// What the database says.
pub fn export(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<Entry>> {
    store::entries(conn, app, Some(user), ("", EXPORT_MAX))
}

/// Forgets every mail to this user, those that wait included. A mail that says that the account is deleted is queued
/// after this, without the user.
///
/// # Errors
/// What the database says.
pub fn erase(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    store::delete_of(conn, app, user)
}

/// The mails of one user become those of another.
///
/// # Errors
/// What the database says.
pub fn absorb(conn: &mut Conn, app: AppId, (from, to): (UserId, UserId)) -> Result<()> {
    store::hand_on(conn, app, (from, to))
}

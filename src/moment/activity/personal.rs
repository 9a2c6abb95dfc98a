//! An activity holds its sender's words: one whose last decision is forgotten goes with it, for it may speak of that person.

use super::store;
use crate::error::Result;
use crate::id::{AppId, PushId};
use crate::store::Conn;

/// Forgets those of these starts and updates of which no decision is left.
///
/// # Errors
/// What the database says.
pub fn forget_empty(conn: &mut Conn, app: AppId, ids: &[PushId]) -> Result<()> {
    if ids.is_empty() { Ok(()) } else { store::forget_empty(conn, app, ids) }
}

/// Forgets tokens and words of activities that were over before a time; answers how many there were.
///
/// # Errors
/// What the database says.
pub fn expire(conn: &mut Conn, app: AppId, before: (i64, i64)) -> Result<usize> {
    store::expire(conn, app, before)
}

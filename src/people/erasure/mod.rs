//! People on their way out: who is leaving, until when that can be undone, and the tombstones of those who are gone.
//!
//! A user who leaves is hidden from everybody but `privacy` from the start ([`begin`]): nobody signs in as them, matches
//! an event with them or decides about them. What is done to their data is `privacy`'s part.

mod store;

pub use store::{Erasure, State};

use crate::error::Result;
use crate::id::{AppId, ErasureId, UserId};
use crate::platform::MasterKey;
use crate::store::Conn;
use std::collections::HashSet;

/// An erasure that was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its id.
    pub id: ErasureId,
    /// Whose data.
    pub user: UserId,
    /// Who asked: `user`, or `server:key_…`.
    pub by: String,
    /// When, in UTC milliseconds.
    pub asked_ms: i64,
    /// From when it is done, in UTC milliseconds.
    pub due_ms: i64,
}

/// Marks a user as leaving. The same erasure is answered when one was asked for before, and whether it is new.
///
/// # Errors
/// 404 when there is no such user.
pub fn begin(conn: &mut Conn, app: AppId, asked: &Asked) -> Result<(Erasure, bool)> {
    store::begin(conn, app, asked)
}

/// Whether a user is leaving who may still come back.
///
/// # Errors
/// What the database says.
pub fn is_undoable(conn: &mut Conn, app: AppId, user: UserId) -> Result<bool> {
    store::is_waiting(conn, app, user)
}

/// Takes an erasure back whose work has not begun; false when there is none. A sign-in says it too.
///
/// # Errors
/// What the database says.
pub fn restore(conn: &mut Conn, app: AppId, user: UserId, now_ms: Option<i64>) -> Result<bool> {
    store::restore(conn, app, user, now_ms)
}

/// One erasure.
///
/// # Errors
/// 404.
pub fn read(conn: &mut Conn, app: AppId, id: ErasureId) -> Result<Erasure> {
    store::read(conn, app, id)
}

/// The erasure that is to be worked on next, and when the next one falls due after that.
///
/// # Errors
/// What the database says.
pub fn due(conn: &mut Conn, now_ms: i64) -> Result<(Option<Erasure>, Option<i64>)> {
    store::due(conn, now_ms)
}

/// Notes that the work on an erasure begins: from now on it cannot be undone. False when it was taken back meanwhile.
///
/// # Errors
/// What the database says.
pub fn start(conn: &mut Conn, erasure: &Erasure, now_ms: i64) -> Result<bool> {
    store::start(conn, erasure, now_ms)
}

/// Lets the work on an erasure rest until a time: the next ones come first.
///
/// # Errors
/// What the database says.
pub fn postpone(conn: &mut Conn, erasure: &Erasure, due_ms: i64) -> Result<()> {
    store::postpone(conn, erasure, due_ms)
}

/// Notes that nothing of the user is left, and forgets who it was.
///
/// # Errors
/// What the database says.
pub fn end(conn: &mut Conn, erasure: &Erasure, now_ms: i64) -> Result<()> {
    store::end(conn, erasure, now_ms)
}

/// Sets up tombstones for names of a user: ids, and external ids behind `user:`.
///
/// # Errors
/// What the database says.
pub fn bury(conn: &mut Conn, key: &MasterKey, app: AppId, (names, now_ms): (&[String], i64)) -> Result<()> {
    let hashes: Vec<String> = names.iter().map(|name| hash(key, app, name)).collect();
    store::bury(conn, app, &hashes, now_ms)
}

/// Which of these names belong to somebody who is gone.
///
/// # Errors
/// What the database says.
pub fn buried<'a>(conn: &mut Conn, key: &MasterKey, app: AppId, names: &HashSet<&'a str>) -> Result<HashSet<&'a str>> {
    if names.is_empty() {
        return Ok(HashSet::new());
    }
    let hashes: Vec<(String, &str)> = names.iter().map(|name| (hash(key, app, name), *name)).collect();
    let found = store::buried(conn, app, hashes.iter().map(|(hash, _)| hash.as_str()))?;
    Ok(hashes.into_iter().filter(|(hash, _)| found.contains(hash)).map(|(_, name)| name).collect())
}

/// The hash is keyed, so that names cannot be guessed from it, and the same name has another one in another app.
fn hash(key: &MasterKey, app: AppId, name: &str) -> String {
    key.derive("tombstone", format!("{app}|{name}").as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

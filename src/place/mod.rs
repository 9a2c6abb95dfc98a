//! Places and who enters, leaves or stays at them.

mod book;
pub mod geojson;
pub mod geometry;
pub mod hours;
pub mod http;
pub mod index;
pub mod personal;
mod store;
pub mod track;
pub mod transition;

pub use book::Places;
pub use store::Kept;

use crate::error::Result;
use crate::id::{AppId, PlaceId, UserId};
use crate::store::Conn;
use geometry::Shape;
use hours::OpeningHours;
use index::Index;
use std::collections::HashMap;
use track::Track;
use transition::Terms;

/// A dwell fires after this, when the place does not say otherwise, in milliseconds.
pub const DWELL_MS_DEFAULT: i64 = 5 * crate::clock::MINUTE_MS;
/// A silent visit ends after this, when the place does not say otherwise, in milliseconds.
pub const STALE_AFTER_MS_DEFAULT: i64 = crate::clock::HOUR_MS;

/// A circle or polygon with tags and times.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Its id.
    pub id: PlaceId,
    /// The app's own name for it, unique in the app.
    pub key: Option<String>,
    /// A name for people.
    pub name: String,
    /// Where it is.
    pub shape: Shape,
    /// Words that rules can ask for.
    pub tags: Vec<String>,
    /// Its times.
    pub terms: Terms,
    /// When it is open, if it says so.
    pub opening_hours: Option<OpeningHours>,
    /// Grows with every change.
    pub revision: i64,
    /// When its shape last changed, in UTC milliseconds: an older fix is no sight of it.
    pub shaped_ms: i64,
    /// When it was made, in UTC milliseconds.
    pub created_ms: i64,
}

/// Makes many places at once: seeding and import.
///
/// # Errors
/// 409 when a key is taken.
pub fn create_many(conn: &mut Conn, app: AppId, places: &[Place]) -> Result<()> {
    store::insert(conn, app, places)
}

/// These places, those that are gone left out.
///
/// # Errors
/// What the database says.
pub fn by_ids(conn: &mut Conn, app: AppId, ids: &[PlaceId]) -> Result<HashMap<PlaceId, Place>> {
    Ok(store::by_ids(conn, app, ids)?.into_iter().map(|place| (place.id, place)).collect())
}

/// Where these subjects stand; every one of them is in the answer.
///
/// # Errors
/// What the database says.
pub fn tracks(conn: &mut Conn, app: AppId, subjects: &[String]) -> Result<HashMap<String, Track>> {
    store::tracks(conn, app, subjects)
}

/// Writes where subjects stand now.
///
/// # Errors
/// What the database says.
pub fn keep(conn: &mut Conn, app: AppId, index: &Index, all: &[Kept<'_>]) -> Result<()> {
    store::keep(conn, app, index, all)
}

/// Subjects for whom the clock alone changes something by now: at most `limit` rows, a subject perhaps more than once.
///
/// # Errors
/// What the database says.
pub fn due(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<(AppId, String, Option<UserId>)>> {
    store::due(conn, now_ms, limit)
}

/// When the clock alone will next change something.
///
/// # Errors
/// What the database says.
pub fn next_due_ms(conn: &mut Conn) -> Result<Option<i64>> {
    store::next_due_ms(conn)
}

/// Forgets where subjects are and were.
///
/// # Errors
/// What the database says.
pub fn forget(conn: &mut Conn, app: AppId, subjects: &[String]) -> Result<()> {
    store::forget(conn, app, subjects)
}

/// Forgets people's raw positions from before a time; when they were seen, and where they are in, stays.
///
/// # Errors
/// What the database says.
pub fn forget_fixes(conn: &mut Conn, app: AppId, before_ms: i64) -> Result<()> {
    store::forget_fixes(conn, app, before_ms)
}

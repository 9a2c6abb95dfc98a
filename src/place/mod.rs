//! Places and who enters, leaves or stays at them.

pub mod geojson;
pub mod geometry;
pub mod hours;
pub mod index;
pub mod track;
pub mod transition;

use crate::id::PlaceId;
use geometry::Shape;
use hours::OpeningHours;
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

//! Airports as places: one circle each.

use crate::error::{Error, Result};
use std::io::Read;

/// The radius of an airport's circle, in metres.
pub(crate) const RADIUS_M: f64 = 3_000.0;
/// The tag of every airport's place.
pub(crate) const TAG: &str = "airport";
/// The airports that the demo and the tests need: an extract of the list, built in.
pub(crate) const EXTRACT: &str = include_str!("../../../examples/airports.csv");

/// One airport.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Airport {
    /// Three letters, e.g. `ORY`.
    pub(crate) iata: String,
    /// Its name.
    pub(crate) name: String,
    /// Degrees north.
    pub(crate) lat: f64,
    /// Degrees east.
    pub(crate) lon: f64,
}

/// Reads a list of airports (CSV with a header line; further columns are passed over).
///
/// # Errors
/// When a line makes no sense; the line is named.
pub(crate) fn read(reader: impl Read) -> Result<Vec<Airport>> {
    let mut rows = csv::Reader::from_reader(reader);
    let airport =
        |(n, row): (usize, csv::Result<Airport>)| row.map_err(|e| Error::broken(format!("airports, line {}: {e}", n + 2)));
    rows.deserialize().enumerate().map(airport).collect()
}

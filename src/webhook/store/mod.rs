//! Webhooks and their deliveries in the database.

mod deliveries;
mod endpoints;
mod results;

pub(super) use deliveries::*;
pub(super) use endpoints::*;
pub(super) use results::*;

//! Webhooks and their deliveries in the database.

mod deliveries;
mod endpoints;

pub(super) use deliveries::*;
pub(super) use endpoints::*;

//! The decision trail and the messages, for servers and for the people whom they concern.

pub mod cancel;
pub mod decisions;
pub mod messages;
pub mod mine;
pub mod question;
pub mod recall;
pub mod receipts;
pub mod why;

use crate::error::{Error, Result};
use std::str::FromStr;

/// Reads an id in a path: what is malformed cannot exist.
fn id<I: FromStr>(text: &str, what: &str) -> Result<I> {
    text.parse().map_err(|_| Error::not_found(what))
}

/// Reads an id in a query.
fn filter<I: FromStr>(text: Option<&str>, field: &'static str) -> Result<Option<I>> {
    text.map(|t| t.parse().map_err(|_| Error::invalid(field, "invalid", "is no id of this kind"))).transpose()
}

//! Routes of the log: events and their types, things and their links.

pub mod caller;
pub mod events;
pub mod links;
pub mod things;
pub mod types;

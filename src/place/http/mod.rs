//! Routes of places.

pub mod nearby;
pub mod places;

//! Routes of the app itself: its settings and its keys.

pub mod keys;
pub mod settings;

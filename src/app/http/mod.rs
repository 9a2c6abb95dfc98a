//! Routes of the app itself: its settings and its keys.

pub mod associations;
pub mod keys;
pub mod settings;

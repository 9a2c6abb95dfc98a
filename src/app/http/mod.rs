//! Routes of the app itself: its settings, its keys, its operators and the log of what they changed.

pub mod associations;
pub mod audit;
pub mod keys;
pub mod operators;
pub mod settings;
pub mod sign_in;

//! The routes of this room, one file per noun.

pub mod mails;
pub mod templates;

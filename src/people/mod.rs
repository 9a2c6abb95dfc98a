//! Who: consent, devices, profiles and preferences, accounts. Four rooms with the same furniture.

pub mod account;
pub mod check;
pub mod consent;
pub mod device;
pub mod erasure;
pub mod http;
pub mod import;
pub mod merge;
pub mod profile;

//! The log of facts, and the things that send them.

pub mod settle;

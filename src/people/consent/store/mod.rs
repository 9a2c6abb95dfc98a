//! The tables of consent: the ledger, the purposes, the ages.

mod ages;
mod ledger;
mod purposes;

pub(super) use ages::{ages, put_age};
pub(super) use ledger::{append, disabled, history, ledgers, partner, records};
pub(super) use purposes::{declare, declared, publish, purposes, texts, update};

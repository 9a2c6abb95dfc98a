//! `kairos migrate`: brings the schema up to date, or says what is pending.

use super::Settings;
use crate::error::Result;
use crate::store::{self, Options, Store};
use std::process::ExitCode;

/// # Errors
/// When the database cannot be reached or is newer than this program.
pub(super) fn run(settings: &Settings, check: bool) -> Result<ExitCode> {
    let config = settings.load()?;
    let url = config.database_url.expose();
    let pending = store::pending(url)?;
    if pending.is_empty() {
        println!("The schema is up to date.");
        return Ok(ExitCode::SUCCESS);
    }
    if check {
        println!("Pending: {}. Run `kairos migrate`.", pending.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Store::open(&Options { url: url.to_owned(), readers: 1, writers: 1 })?;
    println!("Done: {}.", pending.join(", "));
    Ok(ExitCode::SUCCESS)
}

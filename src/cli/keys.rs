//! `kairos keys rotate`: another key signs our tokens.

use super::{Settings, system_clock};
use crate::error::{Error, Result};
use crate::id::Ids;
use crate::people::account::{Accounts, keyring};
use crate::platform::MasterKey;
use crate::store::{Options, Store};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new key that signs tokens; running servers take it up by themselves.
    Rotate,
}

/// # Errors
/// When the database is away or the master key cannot be read.
pub(super) async fn run(settings: &Settings, command: KeysCommand) -> Result<ExitCode> {
    let KeysCommand::Rotate = command;
    let config = settings.load()?;
    let options = Options { url: config.database_url.expose().to_owned(), readers: 1, writers: 1 };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.map_err(Error::broken)??;
    let clock = system_clock();
    let ids = Ids::new(clock.clone());
    let (key, now_ms) = (MasterKey::load(&config, &ids)?, clock.now_ms());
    let kid = store.write(move |conn| Accounts::rotate(conn, (&key, &ids, now_ms))).await?;
    let minutes = keyring::PUBLISHED_MS / 60_000;
    println!("Key {kid} is made and published. It signs in {minutes} minutes, when every verifier has seen it.");
    println!("The key before it is believed until its last token is over; then its private half is destroyed.");
    Ok(ExitCode::SUCCESS)
}

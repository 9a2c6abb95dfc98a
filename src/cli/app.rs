//! `kairos app create`: a tenant and its first keys, shown once.

use super::{Settings, system_clock};
use crate::app;
use crate::error::{Error, Result};
use crate::id::Ids;
use crate::store::{Options, Store};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    /// Create an app with a publishable key and a server key.
    Create {
        /// What people call it.
        #[arg(long)]
        name: String,
        /// Print `{app_id, publishable_key, server_key}` and nothing else.
        #[arg(long)]
        json: bool,
    },
}

/// # Errors
/// When the name is refused or the database is away.
pub(super) async fn run(settings: &Settings, command: AppCommand) -> Result<ExitCode> {
    let AppCommand::Create { name, json } = command;
    let config = settings.load()?;
    let options = Options { url: config.database_url.expose().to_owned(), readers: 1, writers: 1 };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.map_err(Error::broken)??;
    let clock = system_clock();
    let ids = Ids::new(clock.clone());
    let now_ms = clock.now_ms();
    let made = store.write(move |conn| app::create(conn, &ids, now_ms, &name)).await?;
    if json {
        let keys = serde_json::json!({
            "app_id": made.app_id,
            "publishable_key": made.publishable_key.expose(),
            "server_key": made.server_key.expose(),
        });
        println!("{keys}");
    } else {
        println!("App {} is made. These keys are shown once; keep them now.", made.app_id);
        println!("  publishable key (in the mobile app):  {}", made.publishable_key.expose());
        println!("  server key (on your servers only):    {}", made.server_key.expose());
        println!(
            "Next: `kairos serve`, then sign a user up at {}/v1/auth/sign-up with the header X-Kairos-Key.",
            config.public_url
        );
    }
    Ok(ExitCode::SUCCESS)
}

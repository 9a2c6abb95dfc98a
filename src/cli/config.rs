//! `kairos config print`: the manual of settings, then what is in force here.

use super::Settings;
use crate::config::DEFAULTS;
use crate::error::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every setting with its default and meaning, and check those in force.
    Print,
}

/// # Errors
/// When a setting is wrong.
pub(super) fn run(settings: &Settings, command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Print => {
            println!("{DEFAULTS}");
            let config = settings.load()?;
            println!(
                "# In force here: listen {}, public_url {}, data_dir {}.",
                config.listen,
                config.public_url,
                config.data_dir.display()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

//! `kairos config print`: the manual of settings, with the values that are in force here.

use super::Settings;
use crate::error::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the settings and print each with its meaning, its present value and, where that differs, its default.
    Print,
}

/// # Errors
/// When a setting is wrong.
pub(super) fn run(settings: &Settings, command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Print => {
            print!("{}", settings.load()?.manual());
            Ok(ExitCode::SUCCESS)
        }
    }
}

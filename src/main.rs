//! The command line of Kairos: parse the command, run it, exit code.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    kairos::cli::run(kairos::cli::Cli::parse())
}

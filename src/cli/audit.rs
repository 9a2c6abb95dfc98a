//! `kairos audit verify`: whether the audit log is whole, chain by chain.

use super::{Settings, operator};
use crate::audit;
use crate::error::Result;
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Walk every chain of the audit log; exit with 1 when one is broken.
    Verify,
}

/// # Errors
/// When the database is away.
pub(super) async fn run(settings: &Settings, command: AuditCommand) -> Result<ExitCode> {
    let AuditCommand::Verify = command;
    let (store, ..) = operator::open(settings).await?;
    let mut code = ExitCode::SUCCESS;
    for chain in store.read(audit::chains).await? {
        let walk = audit::verify(&store, chain).await?;
        let name = chain.map_or_else(|| "installation".to_owned(), |app| app.to_string());
        match walk.first_bad {
            None => println!("{name}: whole, {} rows, head {}", walk.count, walk.head),
            Some(seq) => {
                println!("{name}: BROKEN at row {seq}, {} rows, head {}", walk.count, walk.head);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

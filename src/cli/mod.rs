//! Every command, one file each; this one knows their names and the flags they share.

mod app;
mod audit;
mod config;
mod demo;
mod keys;
mod mail;
mod migrate;
mod openapi;
mod operator;
mod replay;
mod serve;
mod standin;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// The mobile backend that seizes business moments.
#[derive(Debug, Parser)]
#[command(name = "kairos", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// Settings given on the command line; they win over environment and file.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Settings file (TOML); `kairos config print` shows every setting.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Folder for the database and the master key.
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// sqlite://path or postgres://…
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Any other setting, e.g. --set log=debug; may be repeated.
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// Whether the user named a folder or a database.
    fn names_database(&self) -> bool {
        let env = |name: &str| std::env::var_os(name).is_some();
        self.config.is_some()
            || self.data_dir.is_some()
            || self.database_url.is_some()
            || env("KAIROS_DATA_DIR")
            || env("KAIROS_DATABASE_URL")
    }

    /// These settings, with everything in another folder.
    fn with_data_dir(&self, folder: &std::path::Path) -> Self {
        Self { data_dir: Some(folder.display().to_string()), ..self.clone() }
    }

    /// All settings, with these on top.
    ///
    /// # Errors
    /// One line that names the setting and what to set.
    pub fn load(&self) -> Result<Config> {
        let mut flags = BTreeMap::new();
        for pair in &self.set {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| Error::broken(format!("--set {pair}: expected NAME=VALUE")))?;
            flags.insert(name.to_lowercase(), value.to_owned());
        }
        for (name, value) in [("listen", &self.listen), ("data_dir", &self.data_dir), ("database_url", &self.database_url)] {
            if let Some(value) = value {
                flags.insert(name.to_owned(), value.clone());
            }
        }
        Config::load(self.config.as_deref(), &flags)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve,
    /// Play three recorded hours around Paris: landings, moments, offers that compete, pushes, and who got none and why.
    Demo(demo::DemoArgs),
    /// Play a recording through a server of its own and judge it by the gateways' own books.
    Replay(replay::ReplayArgs),
    /// Run strict stand-ins for Apple's and Google's gateways.
    Standin(standin::StandInArgs),
    /// Apps (tenants).
    #[command(subcommand)]
    App(app::AppCommand),
    /// Keys that sign our tokens.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Mails to account holders: codes, links, notices.
    #[command(subcommand)]
    Mail(mail::MailCommand),
    /// Operators: the people who run apps.
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Bring the database schema up to date, or check it.
    Migrate {
        /// Change nothing; exit with 1 when something is pending.
        #[arg(long)]
        check: bool,
    },
    /// Print the OpenAPI document.
    Openapi,
    /// Settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Runs a command; what goes wrong is one line on standard error and exit code 1.
pub fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kairos: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let settings = cli.settings;
        match cli.command {
            Command::Serve => serve::run(&settings).await,
            Command::Demo(args) => demo::run(&settings, args).await,
            Command::Replay(args) => replay::run(&settings, args).await,
            Command::Standin(args) => standin::run(args).await,
            Command::App(command) => app::run(&settings, command).await,
            Command::Keys(command) => keys::run(&settings, command).await,
            Command::Mail(command) => mail::run(&settings, command).await,
            Command::Operator(command) => operator::run(&settings, command).await,
            Command::Audit(command) => audit::run(&settings, command).await,
            Command::Migrate { check } => migrate::run(&settings, check),
            Command::Openapi => openapi::run(),
            Command::Config(command) => config::run(&settings, &command),
        }
    });
    // Database threads and sockets need no farewell: what was acknowledged is on disk.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kairos: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// A line for whoever watches a server; that nobody does is no reason for a server to end.
fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn one_line(error: &Error) -> String {
    match error {
        Error::Broken(what) => what.replace('\n', " "),
        Error::Busy(what) => (*what).to_owned(),
        Error::Refused(problem) => problem.detail.clone(),
    }
}

/// The clock of every command that does not follow a recording.
fn system_clock() -> Clock {
    Clock::system()
}

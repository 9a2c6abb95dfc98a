//! `kairos mail`: the mails that Kairos wrote to account holders, for the operator of this machine.

use super::{Settings, system_clock};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, Ids, MailId};
use crate::mail::{self, Shown};
use crate::platform::MasterKey;
use crate::store::{Options, Store};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum MailCommand {
    /// List the newest mails, the newest first.
    List {
        /// Only those of this app.
        #[arg(long, value_name = "APP")]
        app: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1_000))]
        limit: i64,
    },
    /// Show one mail as long as it can be read: until it is sent, or for 24 hours without a mail server.
    Show {
        /// Its id, from `kairos mail list`.
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// # Errors
/// When the id is none, the database is away, or the master key is missing.
pub(super) async fn run(settings: &Settings, command: MailCommand) -> Result<ExitCode> {
    let config = settings.load()?;
    let options = Options { url: config.database_url.expose().to_owned(), readers: 1, writers: 1 };
    let key = MasterKey::load(&config, &Ids::new(system_clock()))?;
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.map_err(Error::broken)??;
    match command {
        MailCommand::List { app, limit } => {
            let app = app.map(|text| text.parse::<AppId>().map_err(|e| Error::broken(format!("--app: {e}")))).transpose()?;
            let mails = store.read(move |conn| mail::newest(conn, &key, app, limit)).await?;
            if mails.is_empty() {
                println!("There are no mails.");
            }
            mails.iter().for_each(|mail| println!("{}", line(mail)));
            if !mail::sends(&config) {
                println!("No mail server (KAIROS_SMTP_URL): mails are not sent. `kairos mail show ID` shows one, for 24 hours.");
            }
        }
        MailCommand::Show { id } => {
            let id: MailId = id.parse().map_err(|e| Error::broken(format!("{id}: {e}")))?;
            let found = store.read(move |conn| mail::find(conn, &key, id)).await?;
            let shown = found.ok_or_else(|| Error::broken(format!("there is no mail {id}")))?;
            print(&shown);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(Shown { entry, content }: &Shown) -> String {
    let to = content.as_ref().map_or("(wiped)", |content| &content.to);
    let reason = entry.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let at = Time(entry.created_ms);
    format!("{}  {at}  {}  {:16} {}{reason}  {to}", entry.id, entry.app_id, entry.template, entry.state)
}

fn print(shown: &Shown) {
    println!("{}", line(shown));
    match &shown.content {
        Some(content) => {
            println!("From: {}\nTo: {}\nSubject: {}\n\n{}", content.sender, content.to, content.subject, content.text);
        }
        None => println!("Its contents are wiped: it has ended, or is older than 24 hours. Or this is not its master key."),
    }
}

//! `kairos operator`: who runs an app, from the machine itself: the first owner, and ways back in.

use super::{Settings, system_clock};
use crate::app::{self, Invitation, Newcomer, Role};
use crate::audit::{self, Actor, Entry};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, Ids};
use crate::store::{Options, Store};
use clap::Subcommand;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Invite an operator, or give one a role in another app.
    Create {
        /// Their e-mail address.
        #[arg(long)]
        email: String,
        /// What people call them.
        #[arg(long)]
        name: String,
        /// What they are in the app.
        #[arg(long, value_enum)]
        role: Role,
        /// The app, app_…
        #[arg(long)]
        app: String,
    },
    /// List the operators of this installation.
    List,
    /// Let an operator begin anew: password, second factor and sessions are gone, a new invitation is printed.
    Reset {
        /// Their e-mail address.
        #[arg(long)]
        email: String,
    },
    /// Shut an operator out of every app; `reset` lets them in again.
    Disable {
        /// Their e-mail address.
        #[arg(long)]
        email: String,
    },
}

/// # Errors
/// When an argument is refused or the database is away.
pub(super) async fn run(settings: &Settings, command: OperatorCommand) -> Result<ExitCode> {
    let (store, clock, url) = open(settings).await?;
    let (ids, now_ms) = (Ids::new(clock.clone()), clock.now_ms());
    match command {
        OperatorCommand::Create { email, name, role, app } => {
            let app_id: AppId =
                app.parse().map_err(|_| Error::broken(format!("--app {app}: expected the id of an app, app_…")))?;
            let newcomer = Newcomer { app_id, role, email, name };
            let done = store.write(move |conn| {
                app::settings(conn, app_id)?;
                let invited = app::invite(conn, &ids, (now_ms, Actor::Command), newcomer)?;
                let entry = Entry::new(now_ms, Actor::Command, "command operator create").on(invited.id);
                audit::append(conn, Some(app_id), entry.with("role", role.name()))?;
                Ok(invited)
            });
            let done = done.await?;
            println!("Operator {} is {} in {app_id}.", done.id, role.name());
            match done.invitation {
                Some(invitation) => print(&invitation, &url),
                None => println!("They have a password already and sign in as before."),
            }
        }
        OperatorCommand::List => store.read(app::list).await?.iter().for_each(|line| println!("{line}")),
        OperatorCommand::Reset { email } => {
            let done = store.write(move |conn| app::reset(conn, &ids, now_ms, &email)).await?;
            println!("Operator {} begins anew.", done.id);
            if let Some(invitation) = done.invitation {
                print(&invitation, &url);
            }
        }
        OperatorCommand::Disable { email } => {
            let id = store.write(move |conn| app::disable(conn, now_ms, &email)).await?;
            println!("Operator {id} is shut out.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(invitation: &Invitation, url: &str) {
    println!("Their invitation is shown once and is good until {}:", Time(invitation.expires_ms));
    println!("  {}", invitation.token.expose());
    println!("They set a password with POST {url}/v1/operators/accept {{token, password}}, then sign in.");
}

/// The database, the clock and the public URL.
pub(super) async fn open(settings: &Settings) -> Result<(Store, crate::clock::Clock, String)> {
    let config = settings.load()?;
    let options = Options { url: config.database_url.expose().to_owned(), readers: 1, writers: 1 };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.map_err(Error::broken)??;
    Ok((store, system_clock(), config.public_url))
}

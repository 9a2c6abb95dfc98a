//! The one set of migrations, run in transactions on either database.
//!
//! A file is portable SQL. Where the databases truly differ (triggers), lines between `-- only sqlite` or
//! `-- only postgres` and `-- end` are for that database alone.

use super::{Conn, Engine};
use crate::error::{Error, Result};
use crate::on;
use diesel::backend::Backend;
use diesel::connection::BoxableConnection;
use diesel::migration::{Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion};
use diesel_migrations::MigrationHarness;

/// The embedded migrations, oldest first: (version, up, down). The version is the folder's name.
const FILES: &[(&str, &str, &str)] = &[
    (
        "2026-11-22_base",
        include_str!("../../migrations/2026-11-22_base/up.sql"),
        include_str!("../../migrations/2026-11-22_base/down.sql"),
    ),
    (
        "2026-11-28_identity",
        include_str!("../../migrations/2026-11-28_identity/up.sql"),
        include_str!("../../migrations/2026-11-28_identity/down.sql"),
    ),
    (
        "2026-11-28_mail",
        include_str!("../../migrations/2026-11-28_mail/up.sql"),
        include_str!("../../migrations/2026-11-28_mail/down.sql"),
    ),
    (
        "2026-11-28_privacy",
        include_str!("../../migrations/2026-11-28_privacy/up.sql"),
        include_str!("../../migrations/2026-11-28_privacy/down.sql"),
    ),
    (
        "2026-11-28_operators",
        include_str!("../../migrations/2026-11-28_operators/up.sql"),
        include_str!("../../migrations/2026-11-28_operators/down.sql"),
    ),
    (
        "2026-11-28_factor",
        include_str!("../../migrations/2026-11-28_factor/up.sql"),
        include_str!("../../migrations/2026-11-28_factor/down.sql"),
    ),
    (
        "2026-11-28_question",
        include_str!("../../migrations/2026-11-28_question/up.sql"),
        include_str!("../../migrations/2026-11-28_question/down.sql"),
    ),
    (
        "2026-11-28_consent",
        include_str!("../../migrations/2026-11-28_consent/up.sql"),
        include_str!("../../migrations/2026-11-28_consent/down.sql"),
    ),
    (
        "2026-11-28_webhooks",
        include_str!("../../migrations/2026-11-28_webhooks/up.sql"),
        include_str!("../../migrations/2026-11-28_webhooks/down.sql"),
    ),
    (
        "2026-11-28_federation",
        include_str!("../../migrations/2026-11-28_federation/up.sql"),
        include_str!("../../migrations/2026-11-28_federation/down.sql"),
    ),
    (
        "2026-11-28_users",
        include_str!("../../migrations/2026-11-28_users/up.sql"),
        include_str!("../../migrations/2026-11-28_users/down.sql"),
    ),
    (
        "2026-11-28_import",
        include_str!("../../migrations/2026-11-28_import/up.sql"),
        include_str!("../../migrations/2026-11-28_import/down.sql"),
    ),
    (
        "2026-11-29_activities",
        include_str!("../../migrations/2026-11-29_activities/up.sql"),
        include_str!("../../migrations/2026-11-29_activities/down.sql"),
    ),
    (
        "2026-11-29_channels",
        include_str!("../../migrations/2026-11-29_channels/up.sql"),
        include_str!("../../migrations/2026-11-29_channels/down.sql"),
    ),
    (
        "2026-11-29_content",
        include_str!("../../migrations/2026-11-29_content/up.sql"),
        include_str!("../../migrations/2026-11-29_content/down.sql"),
    ),
    (
        "2026-11-29_gateways",
        include_str!("../../migrations/2026-11-29_gateways/up.sql"),
        include_str!("../../migrations/2026-11-29_gateways/down.sql"),
    ),
    (
        "2026-11-29_pushes",
        include_str!("../../migrations/2026-11-29_pushes/up.sql"),
        include_str!("../../migrations/2026-11-29_pushes/down.sql"),
    ),
    (
        "2026-11-29_receipts",
        include_str!("../../migrations/2026-11-29_receipts/up.sql"),
        include_str!("../../migrations/2026-11-29_receipts/down.sql"),
    ),
    (
        "2026-11-29_webpush",
        include_str!("../../migrations/2026-11-29_webpush/up.sql"),
        include_str!("../../migrations/2026-11-29_webpush/down.sql"),
    ),
    (
        "2026-11-30_standing",
        include_str!("../../migrations/2026-11-30_standing/up.sql"),
        include_str!("../../migrations/2026-11-30_standing/down.sql"),
    ),
    (
        "2026-11-30_unforwarded",
        include_str!("../../migrations/2026-11-30_unforwarded/up.sql"),
        include_str!("../../migrations/2026-11-30_unforwarded/down.sql"),
    ),
    (
        "2026-12-01_anew",
        include_str!("../../migrations/2026-12-01_anew/up.sql"),
        include_str!("../../migrations/2026-12-01_anew/down.sql"),
    ),
    (
        "2026-12-03_perhaps",
        include_str!("../../migrations/2026-12-03_perhaps/up.sql"),
        include_str!("../../migrations/2026-12-03_perhaps/down.sql"),
    ),
];

/// The embedded migrations as diesel sees them, for one database.
pub struct Migrations(Engine);

struct Step {
    engine: Engine,
    name: Name,
    up: &'static str,
    down: &'static str,
}

#[derive(Clone, Copy)]
struct Name(&'static str);

struct InTransaction;

impl MigrationMetadata for InTransaction {
    fn run_in_transaction(&self) -> bool {
        true
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl MigrationName for Name {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(self.0)
    }
}

impl<DB: Backend> Migration<DB> for Step {
    fn run(&self, conn: &mut dyn BoxableConnection<DB>) -> diesel::migration::Result<()> {
        Ok(conn.batch_execute(&part_for(self.engine, self.up))?)
    }

    fn revert(&self, conn: &mut dyn BoxableConnection<DB>) -> diesel::migration::Result<()> {
        Ok(conn.batch_execute(&part_for(self.engine, self.down))?)
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &InTransaction
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

impl<DB: Backend> MigrationSource<DB> for Migrations {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<DB>>>> {
        let step = |&(name, up, down)| Box::new(Step { engine: self.0, name: Name(name), up, down }) as Box<dyn Migration<DB>>;
        Ok(FILES.iter().map(step).collect())
    }
}

/// The lines of a migration file that are meant for this database.
fn part_for(engine: Engine, sql: &str) -> String {
    let mut only = None;
    let mut out = String::with_capacity(sql.len());
    for line in sql.lines() {
        match line.trim() {
            "-- only sqlite" => only = Some(Engine::Sqlite),
            "-- only postgres" => only = Some(Engine::Postgres),
            "-- end" => only = None,
            _ if only.is_none_or(|e| e == engine) => {
                out.push_str(line);
                out.push('\n');
            }
            _ => {}
        }
    }
    out
}

/// Brings the schema up to date; refuses a database that a newer program has already changed.
pub(super) fn up(conn: &mut Conn) -> Result<()> {
    match conn.engine() {
        // A change of large tables takes its time. Two nodes that start together take turns; the lock ends with the session.
        Engine::Postgres => {
            conn.batch("SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock(7203515946318)")?;
        }
        // Not in memory: what is sorted and what could be undone is as large as the tables.
        Engine::Sqlite => conn.batch("PRAGMA temp_store = FILE")?,
    }
    refuse_newer(conn)?;
    let engine = conn.engine();
    on!(conn, c => c.run_pending_migrations(Migrations(engine)).map(drop))
        .map_err(|e| Error::broken(format!("migration failed: {e}")))?;
    super::planner::inform(conn)
}

fn refuse_newer(conn: &mut Conn) -> Result<()> {
    let applied =
        on!(conn, c => c.applied_migrations()).map_err(|e| Error::broken(format!("cannot read the schema version: {e}")))?;
    for version in applied {
        let version = version.to_string();
        if !FILES.iter().any(|(name, ..)| *name == version) {
            return Err(Error::broken(format!(
                "the database has the schema change {version}, which this program does not know: it was used by a newer version. Start that one, or restore a backup."
            )));
        }
    }
    Ok(())
}

/// Brings the schema of the database at this URL up to date.
///
/// # Errors
/// When the database cannot be reached, or is newer than this program.
pub fn migrate_up(url: &str) -> Result<()> {
    up(&mut super::Target::parse(url)?.connect()?)
}

/// The names of the migrations that a database at this URL still lacks.
///
/// # Errors
/// When the database cannot be reached, or is newer than this program.
pub fn pending(url: &str) -> Result<Vec<String>> {
    let mut conn = super::Target::parse(url)?.connect()?;
    refuse_newer(&mut conn)?;
    let engine = conn.engine();
    let names = match &mut conn {
        Conn::Sqlite(c) => c.pending_migrations(Migrations(engine)).map(|all| all.iter().map(|m| m.name().to_string()).collect()),
        Conn::Postgres(c) => {
            c.pending_migrations(Migrations(engine)).map(|all| all.iter().map(|m| m.name().to_string()).collect())
        }
    };
    names.map_err(|e| Error::broken(format!("cannot read the schema version: {e}")))
}

/// Undoes the newest migration. For tests of the way down.
///
/// # Errors
/// When it cannot be undone.
pub fn down_one(url: &str) -> Result<()> {
    let mut conn = super::Target::parse(url)?.connect()?;
    let engine = conn.engine();
    on!(&mut conn, c => c.revert_last_migration(Migrations(engine)).map(drop))
        .map_err(|e| Error::broken(format!("migration failed: {e}")))
}

/// Undoes every migration: the database is empty afterwards. For tests of the way down.
///
/// # Errors
/// When a step cannot be undone.
pub fn down_all(url: &str) -> Result<()> {
    let mut conn = super::Target::parse(url)?.connect()?;
    let engine = conn.engine();
    on!(&mut conn, c => c.revert_all_migrations(Migrations(engine)).map(drop))
        .map_err(|e| Error::broken(format!("migration failed: {e}")))
}

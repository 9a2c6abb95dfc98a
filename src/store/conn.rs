//! One connection type over two databases, and the macro that expands one query text for both.

use super::disk::Log;
use crate::error::{Error, Problem, Result};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{Connection, PgConnection, RunQueryDsl, SqliteConnection};
use std::path::{Path, PathBuf};

/// An open connection to either database.
pub enum Conn {
    /// SQLite, bundled: the default, nothing to install.
    Sqlite(SqliteConnection),
    /// PostgreSQL 15 or newer.
    Postgres(PgConnection),
}

/// Expands one query for whichever database is behind a [`Conn`]: `on!(conn, c => users::table.load(c))?`.
#[macro_export]
macro_rules! on {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::store::Conn::Sqlite($c) => $body,
            $crate::store::Conn::Postgres($c) => $body,
        }
    };
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// To read in a write's turn: nothing of it is kept.
    Turn,
    /// One statement, which needs none.
    Bare,
}

/// Where the database is.
#[derive(Debug)]
pub(super) enum Target {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            if path.is_empty() {
                return Err(Error::broken("KAIROS_DATABASE_URL: sqlite:// needs a file path, e.g. sqlite://data/kairos.db"));
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        Err(Error::broken("KAIROS_DATABASE_URL must start with sqlite:// or postgres://"))
    }

    pub(super) fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Writes all pages of SQLite's log to the database and empties the log.
    pub(super) fn scrub(&self) -> Result<()> {
        let Self::Sqlite(path) = self else { return Ok(()) };
        let Conn::Sqlite(mut conn) = connect_sqlite(path)? else { return Ok(()) };
        let done: Checkpoint = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(&mut conn)?;
        if done.busy == 0 { Ok(()) } else { Err(Error::Busy("the database's log is in use")) }
    }

    /// Leaves the flushing of SQLite's commits to whoever calls this; answers what to flush.
    pub(super) fn log(&self, conn: &mut Conn) -> Result<Log> {
        let Self::Sqlite(path) = self else { return Err(Error::broken("only SQLite has a log of its own")) };
        conn.batch("PRAGMA synchronous = NORMAL")?;
        Log::of(path).map_err(|e| Error::broken(format!("cannot open the log of the database {}: {e}", path.display())))
    }

    pub(super) fn connect(&self) -> Result<Conn> {
        match self {
            Self::Sqlite(path) => connect_sqlite(path),
            Self::Postgres(url) => {
                // The URL may hold a password: libpq's message names host and database only.
                let mut conn = PgConnection::establish(url)
                    .map_err(|e| Error::broken(format!("cannot connect to PostgreSQL (KAIROS_DATABASE_URL): {e}")))?;
                conn.batch_execute(
                    "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'; \
                     SET lock_timeout = '10s'; SET client_min_messages = 'warning'",
                )
                .map_err(Error::from)?;
                Ok(Conn::Postgres(conn))
            }
        }
    }
}

fn connect_sqlite(path: &Path) -> Result<Conn> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::broken(format!("cannot create {}: {e}", folder.display())))?;
    }
    let text = path.to_str().ok_or_else(|| Error::broken("the database path is not UTF-8"))?;
    let mut conn = SqliteConnection::establish(text)
        .map_err(|e| Error::broken(format!("cannot open the database file {}: {e}", path.display())))?;
    conn.batch_execute(
        "PRAGMA page_size = 8192; PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000; PRAGMA journal_size_limit = 67108864; \
         PRAGMA wal_autocheckpoint = 2000; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON",
    )
    .map_err(Error::from)?;
    Ok(Conn::Sqlite(conn))
}

#[derive(diesel::QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    busy: i64,
}

#[derive(diesel::QueryableByName)]
struct Setting {
    #[diesel(sql_type = diesel::sql_types::Text)]
    value: String,
}

impl Conn {
    /// Which database this is.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Refuses a PostgreSQL that acknowledges commits before they are on disk.
    pub(super) fn check_durability(&mut self) -> Result<()> {
        let Self::Postgres(conn) = self else { return Ok(()) };
        for setting in ["synchronous_commit", "fsync"] {
            let row: Setting = diesel::sql_query(format!("SELECT current_setting('{setting}') AS value")).get_result(conn)?;
            if row.value == "off" || row.value == "local" && setting == "fsync" {
                return Err(Error::broken(format!(
                    "PostgreSQL has {setting} = off: set it to on, so that what is acknowledged is on disk"
                )));
            }
        }
        Ok(())
    }

    /// Runs raw statements (migrations, maintenance).
    ///
    /// # Errors
    /// What the database says.
    pub fn batch(&mut self, sql: &str) -> Result<()> {
        Ok(on!(self, c => c.batch_execute(sql))?)
    }

    /// Begins a transaction; [`Conn::keep`] or [`Conn::undo`] ends it.
    pub(super) fn begin(&mut self, access: Access) -> Result<()> {
        let (sqlite, postgres) = match access {
            Access::Bare => return Ok(()),
            Access::Write | Access::Turn => ("BEGIN IMMEDIATE", "BEGIN"),
            // One state of the database for all queries of a read.
            Access::Read => ("BEGIN DEFERRED", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        };
        match self {
            Self::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, sqlite)?,
            Self::Postgres(c) => AnsiTransactionManager::begin_transaction_sql(c, postgres)?,
        }
        Ok(())
    }

    /// A part of a transaction that can fail alone: its statements are undone, the rest goes on.
    ///
    /// # Errors
    /// What the closure returns.
    pub fn savepoint<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.open_savepoint()?;
        match f(self) {
            Ok(value) => {
                self.keep()?;
                Ok(value)
            }
            Err(error) => match self.undo() {
                Ok(()) => Err(error),
                // The connection is of no more use; what was begun is undone by the database itself.
                Err(_) => Err(Error::Busy("the database connection was lost")),
            },
        }
    }

    /// Begins what [`Conn::keep`] or [`Conn::undo`] ends, inside a transaction.
    pub(super) fn open_savepoint(&mut self) -> Result<()> {
        Ok(on!(self, c => AnsiTransactionManager::begin_transaction(c))?)
    }

    /// Commits the transaction; inside a savepoint, ends that.
    pub(super) fn keep(&mut self) -> Result<()> {
        Ok(on!(self, c => AnsiTransactionManager::commit_transaction(c))?)
    }

    /// Undoes the transaction; inside a savepoint, what was written since it was opened.
    pub(super) fn undo(&mut self) -> Result<()> {
        Ok(on!(self, c => AnsiTransactionManager::rollback_transaction(c))?)
    }

    /// Lets transactions that name the same key wait for one another until they end, also where no row exists yet to
    /// be locked. SQLite has one writer anyway.
    ///
    /// # Errors
    /// `Busy` when the wait is too long.
    pub fn serialise(&mut self, key: &str) -> Result<()> {
        if let Self::Postgres(conn) = self {
            diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
                .bind::<diesel::sql_types::Text, _>(key)
                .execute(conn)?;
        }
        Ok(())
    }
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::NotFound => Problem::new(404, "not_found", "There is no such thing in this app.").into(),
            DieselError::DatabaseError(kind, info) => match kind {
                DatabaseErrorKind::UniqueViolation => {
                    Problem::new(409, "already_exists", "Something with this key exists already in this app.").into()
                }
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                    Self::Busy("the database connection was lost")
                }
                DatabaseErrorKind::SerializationFailure => Self::Busy("the database had a conflict between transactions"),
                _ => from_message(info.message()),
            },
            other => from_message(&other.to_string()),
        }
    }
}

/// Full disks, locks and shut-downs come with no kind of their own; everything else is a fault of ours.
fn from_message(message: &str) -> Error {
    const PASSING: [&str; 13] = [
        "database is locked",
        "database or disk is full",
        "disk I/O error",
        "No space left on device",
        "in a read-only transaction",
        "out of memory",
        "out of shared memory",
        "unable to open database file",
        "deadlock detected",
        "terminating connection",
        "server closed the connection",
        "the database system is",
        "canceling statement",
    ];
    if PASSING.iter().any(|p| message.contains(p)) {
        tracing::warn!(message, "the database refused for now");
        return Error::Busy("the database cannot do this now");
    }
    // Constraint messages name columns; values are never part of SQLite's and are cut from PostgreSQL's (`DETAIL`).
    Error::Broken(message.to_owned())
}

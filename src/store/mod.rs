//! The database behind two verbs: `read` and `write`, one closure, one transaction, one hop to a dedicated thread.
//!
//! Outside it is async, inside it is plain synchronous diesel, so nobody can await a gateway inside a transaction.
//! SQLite has one writer thread and a few readers; PostgreSQL a small pool of each.
//! Documents are stored as JSON text (`Doc<T>`), not `jsonb`: they are read whole and typed, never searched inside,
//! keep their key order, and need no second form for either database.

mod among;
mod closing;
mod conn;
mod doc;
mod group;
mod migrate;
pub mod schema;

pub use among::{Among, among};
pub use closing::{Closing, closing, with_closing};
pub use conn::{Conn, Engine};
pub use doc::Doc;
pub use group::{GroupCommit, Limits};
pub use migrate::{Migrations, down_all, migrate_up, pending};

use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use conn::{Access, Target};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many calls may wait for a database thread before callers are told to come back later.
const QUEUE_LIMIT: usize = 8_192;

/// What a database thread does.
struct Job {
    /// Inside a transaction that was begun for it, or by itself.
    access: Access,
    work: Box<dyn FnOnce(&mut Conn) -> Health + Send>,
}

/// Whether the connection can be used for the next job.
#[derive(PartialEq, Eq)]
enum Health {
    Sound,
    Doubtful,
}

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: Sender<Job>,
    writes: Sender<Job>,
    engine: Engine,
    target: Arc<Target>,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite://path/to/file.db` or `postgres://…`.
    pub url: String,
    /// Reader threads (connections), at least 1.
    pub readers: usize,
    /// Writer threads; SQLite always has exactly one.
    pub writers: usize,
}

impl Store {
    /// Opens the database, brings its schema up to date and starts its threads.
    ///
    /// # Errors
    /// When the database cannot be reached, is newer than this program, or does not promise durable commits.
    pub fn open(options: &Options) -> Result<Self> {
        let target = Target::parse(&options.url)?;
        let mut first = target.connect()?;
        first.check_durability()?;
        migrate::up(&mut first)?;
        if planted(Bug::NoEdgeTrigger) {
            let sqlite = first.engine() == Engine::Sqlite;
            first.batch(if sqlite {
                "drop trigger if exists messages_edge"
            } else {
                "drop trigger if exists messages_edge on messages"
            })?;
        }
        drop(first);
        let engine = target.engine();
        let writers = if engine == Engine::Sqlite { 1 } else { options.writers.max(1) };
        let target = Arc::new(target);
        let (writes, write_jobs) = crossbeam_channel::bounded(QUEUE_LIMIT);
        let (reads, read_jobs) = crossbeam_channel::bounded(QUEUE_LIMIT);
        for n in 0..writers {
            spawn(format!("db-write-{n}"), Arc::clone(&target), write_jobs.clone())?;
        }
        for n in 0..options.readers.max(1) {
            spawn(format!("db-read-{n}"), Arc::clone(&target), read_jobs.clone())?;
        }
        Ok(Self { reads, writes, engine, target })
    }

    /// Which database this is, for the few places where SQL truly differs.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Makes what was deleted before leave the files of an SQLite database. Its pages are overwritten with zeros when their
    /// content is deleted; what is left is the log of old pages, which is emptied here. PostgreSQL vacuums by itself.
    ///
    /// # Errors
    /// `Busy` when somebody reads or writes all the time: try again.
    pub async fn scrub(&self) -> Result<()> {
        let target = Arc::clone(&self.target);
        tokio::task::spawn_blocking(move || target.scrub()).await.map_err(Error::broken)?
    }

    /// Runs queries on one consistent snapshot.
    ///
    /// # Errors
    /// What the closure returns, or `Busy` when the database is away or its queue is full.
    pub async fn read<T: Send + 'static>(&self, f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static) -> Result<T> {
        run((&self.reads, Access::Read), None, (f, |_: &T| ())).await
    }

    /// Runs one query. Of itself it sees one snapshot: SQLite is spared the two statements around it.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn ask<T: Send + 'static>(&self, f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static) -> Result<T> {
        let access = match self.engine {
            Engine::Sqlite => Access::Bare,
            // Its transaction shows whether the connection is still there.
            Engine::Postgres => Access::Read,
        };
        run((&self.reads, access), None, (f, |_: &T| ())).await
    }

    /// Runs statements in one transaction: all of them are on disk when this returns `Ok`, none of them when it returns `Err`.
    ///
    /// # Errors
    /// What the closure returns, or `Busy` when the database is away or its queue is full.
    pub async fn write<T: Send + 'static>(&self, f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static) -> Result<T> {
        self.write_then(f, |_| ()).await
    }

    /// As [`Store::write`]; `then` is run right after the commit, also when the caller has gone away by then.
    ///
    /// # Errors
    /// What the closure returns, or `Busy` when the database is away or its queue is full.
    pub async fn write_then<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        run((&self.writes, Access::Write), closing::current(), (f, then)).await
    }
}

async fn run<T: Send + 'static>(
    (queue, access): (&Sender<Job>, Access),
    closing: Option<Arc<dyn Closing>>,
    (f, then): (impl FnOnce(&mut Conn) -> Result<T> + Send + 'static, impl FnOnce(&T) + Send + 'static),
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    let work = Box::new(move |conn: &mut Conn| {
        let work = || {
            let done = match access {
                Access::Bare => f(conn)?,
                Access::Read | Access::Write => conn.finish(|conn| closing::closed(closing.as_ref(), conn, f))?,
            };
            if let Some(closing) = &closing {
                closing.committed();
            }
            then(&done);
            Ok(done)
        };
        let result = std::panic::catch_unwind(AssertUnwindSafe(work));
        let (result, health) = match result {
            Ok(Err(Error::Busy(what))) => (Err(Error::Busy(what)), Health::Doubtful),
            Ok(result) => (result, Health::Sound),
            Err(_) => (Err(Error::broken("a database closure panicked")), Health::Doubtful),
        };
        // A caller that went away does not undo what was committed.
        let _ = reply.send(result);
        health
    });
    match queue.try_send(Job { access, work }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return Err(Error::Busy("the database has too much waiting")),
        Err(TrySendError::Disconnected(_)) => return Err(Error::Busy("the database threads have stopped")),
    }
    answer.await.unwrap_or(Err(Error::Busy("the database is away")))
}

fn spawn(name: String, target: Arc<Target>, jobs: Receiver<Job>) -> Result<()> {
    let thread = move || {
        let mut slot: Option<Conn> = None;
        while let Ok(job) = jobs.recv() {
            let mut conn = match begun(slot.take(), job.access, &target) {
                Ok(conn) => conn,
                // Dropping the job answers its caller with `Busy`.
                Err(error) => {
                    tracing::warn!(%error, "cannot reach the database");
                    continue;
                }
            };
            if (job.work)(&mut conn) == Health::Sound {
                slot = Some(conn);
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(thread).map(drop).map_err(Error::broken)
}

/// A connection, inside a new transaction unless none is wanted: the one at hand or, when it was lost while it lay idle, a new one.
fn begun(at_hand: Option<Conn>, access: Access, target: &Target) -> Result<Conn> {
    if let Some(mut conn) = at_hand
        && conn.begin(access).is_ok()
    {
        return Ok(conn);
    }
    let mut conn = target.connect()?;
    conn.begin(access)?;
    Ok(conn)
}

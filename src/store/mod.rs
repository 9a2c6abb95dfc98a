//! The database behind two verbs: `read` and `write`, one closure, one transaction, one hop to a dedicated thread.
//!
//! Outside it is async, inside it is plain synchronous diesel, so nobody can await a gateway inside a transaction.
//! SQLite has one writer thread and a few readers; PostgreSQL a small pool of each (`threads.rs`).
//! Documents are stored as JSON text (`Doc<T>`), not `jsonb`: they are read whole and typed, never searched inside,
//! keep their key order, and need no second form for either database.

mod among;
mod closing;
mod conn;
mod disk;
mod doc;
mod group;
mod migrate;
mod planner;
pub mod schema;
mod threads;

pub use among::{Among, among, among_numbers};
pub use closing::{Closing, closing, with_closing};
pub use conn::{Conn, Engine};
pub use doc::Doc;
pub use group::{GroupCommit, Limits};
pub use migrate::{Migrations, down_all, down_one, migrate_up, pending};
pub use planner::part;
pub use threads::beside_others;

use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use conn::{Access, Target};
use crossbeam_channel::{Sender, TrySendError};
use disk::Disk;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use threads::{Done, End, Job, Jobs, spawn};
use tokio::sync::oneshot;

/// How many calls may wait for a database thread before callers are told to come back later.
const QUEUE_LIMIT: usize = 8_192;

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: Sender<Job>,
    writes: Sender<Job>,
    /// What lets those go first.
    patient: Sender<Job>,
    engine: Engine,
    writers: usize,
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
        if first.engine() == Engine::Sqlite {
            // Where there is no log nothing could be kept: better said now than at the first write.
            target.log(&mut first)?;
        }
        if planted(Bug::NoEdgeTrigger) {
            let sqlite = first.engine() == Engine::Sqlite;
            first.batch(if sqlite {
                "drop trigger if exists message_states_edge"
            } else {
                "drop trigger if exists message_states_edge on message_states"
            })?;
        }
        drop(first);
        let engine = target.engine();
        let writers = if engine == Engine::Sqlite { 1 } else { options.writers.max(1) };
        let target = Arc::new(target);
        let (writes, write_jobs) = crossbeam_channel::bounded(QUEUE_LIMIT);
        let (patient, patient_jobs) = crossbeam_channel::bounded(QUEUE_LIMIT);
        let (reads, read_jobs) = crossbeam_channel::bounded(QUEUE_LIMIT);
        let disk = if engine == Engine::Sqlite { Some(Disk::start()?) } else { None };
        for n in 0..writers {
            let jobs = Jobs::new(write_jobs.clone(), patient_jobs.clone());
            spawn(format!("db-write-{n}"), Arc::clone(&target), jobs, disk.clone())?;
        }
        // No read is patient: nobody ever sends one.
        let (_, no_jobs) = crossbeam_channel::bounded(0);
        for n in 0..options.readers.max(1) {
            spawn(format!("db-read-{n}"), Arc::clone(&target), Jobs::new(read_jobs.clone(), no_jobs.clone()), None)?;
        }
        Ok(Self { reads, writes, patient, engine, writers, target })
    }

    /// Which database this is, for the few places where SQL truly differs.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// How many long transactions may be under way at once, so that a short one never waits for all of them: on PostgreSQL
    /// one writer stays free; on SQLite one is written while another one is flushed to disk.
    pub fn long_ones(&self) -> usize {
        match self.engine {
            Engine::Sqlite => 2,
            Engine::Postgres => self.writers.saturating_sub(1).max(1),
        }
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

    /// As [`Store::read`], and what it has seen is on disk when this answers, as nobody who only reads can know while SQLite's
    /// log is being flushed: it takes its turn among the writes.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_kept<T: Send + 'static>(&self, f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static) -> Result<T> {
        match self.engine {
            Engine::Sqlite => run((&self.writes, Access::Turn), None, (f, |_: &T| ())).await,
            Engine::Postgres => self.read(f).await,
        }
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

    /// As [`Store::write`], for what is long and in no hurry: other writes go first, but for one in a few.
    ///
    /// # Errors
    /// What the closure returns, or `Busy` when the database is away or its queue is full.
    pub async fn write_patiently<T: Send + 'static>(&self, f: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static) -> Result<T> {
        run((&self.patient, Access::Write), closing::current(), (f, |_: &T| ())).await
    }

    /// As [`Store::write`]; `then` is run as soon as it is on disk, also when the caller has gone away by then. Others may
    /// have seen by then what was written.
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
        let done = std::panic::catch_unwind(AssertUnwindSafe(|| match access {
            Access::Bare => f(conn),
            Access::Read | Access::Write | Access::Turn => closing::closed(closing.as_ref(), conn, f),
        }));
        let end = match &done {
            Ok(Ok(_)) if access == Access::Turn => End::Refused,
            Ok(Ok(_)) => End::Kept,
            Ok(Err(Error::Busy(_))) => End::Doubtful,
            Ok(Err(_)) => End::Refused,
            Err(_) => End::Panicked,
        };
        let done = done.unwrap_or_else(|_| Err(panicked()));
        let after = move |done: T| {
            if let Some(closing) = &closing {
                closing.committed();
            }
            then(&done);
            done
        };
        // A caller that went away does not undo what was committed.
        let tell = move |ended: Result<()>| {
            let done = match (ended, done) {
                (Ok(()), Ok(done)) => std::panic::catch_unwind(AssertUnwindSafe(|| after(done))).map_err(|_| panicked()),
                // It may have refused because of what another one wrote, which is not there now.
                (Err(error), Ok(_) | Err(Error::Refused(_))) | (_, Err(error)) => Err(error),
            };
            let _ = reply.send(done);
        };
        Done { end, tell: Box::new(tell) }
    });
    match queue.try_send(Job { access, work }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return Err(Error::Busy("the database has too much waiting")),
        Err(TrySendError::Disconnected(_)) => return Err(Error::Busy("the database threads have stopped")),
    }
    answer.await.unwrap_or(Err(Error::Busy("the database is away")))
}

fn panicked() -> Error {
    Error::broken("a database closure panicked")
}

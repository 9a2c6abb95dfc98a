//! SQLite's commits reach the disk beside its one writer, and nobody is told before they have.
//!
//! A commit costs far less than the flush that makes it durable: with `synchronous = FULL` the writer stood still for
//! most of its time, and everybody behind it. So the writer only appends to the log (`NORMAL`), and this thread flushes
//! the log and then tells the callers; while one flush runs the next transactions gather, and share the following one.
//! The log is one file in the order of the commits: what is flushed is whole up to some commit, and a caller who was told
//! is on it. Before pages move from the log to the database SQLite flushes both by itself.
//!
//! What others read may be some milliseconds ahead of the disk. Nothing leaves the server on the strength of that: each
//! step that acts on the world is a write of its own, later in the same log, and acts when that one is on disk.
//!
//! A flush that failed cannot be tried again: the kernel may have dropped what it could not write, and says so once. The
//! process stops, and the next one begins with what is there (as PostgreSQL does since the flush errors of 2018,
//! <https://wiki.postgresql.org/wiki/Fsync_Errors>).

use super::threads::Tell;
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, Sender};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Transactions that may wait for one flush: then the writer waits too.
const WAITING_LIMIT: usize = 1_024;

/// The way to the thread that flushes; cheap to clone.
#[derive(Clone)]
pub(super) struct Disk(Sender<Ended>);

/// A transaction that has ended, and whoever waits for that.
pub(super) struct Ended {
    /// The log that it is in.
    pub(super) log: Log,
    /// Whether it was to be committed: else there is nothing to flush but what came before it.
    pub(super) committed: bool,
    pub(super) result: Result<()>,
    pub(super) told: Vec<Tell>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self> {
        let (sender, ended) = crossbeam_channel::bounded(WAITING_LIMIT);
        std::thread::Builder::new().name("db-flush".to_owned()).spawn(move || flush(&ended)).map_err(Error::broken)?;
        Ok(Self(sender))
    }

    /// Tells those who wait for a transaction, once it and all before it are on disk.
    pub(super) fn take(&self, ended: Ended) {
        if self.0.send(ended).is_err() {
            // It lives as long as this sender. Without it what is committed would never be flushed, nor anybody told.
            tracing::error!("the thread that flushes the database's log has died; stopping");
            std::process::abort();
        }
    }
}

/// The file that an SQLite database's commits are appended to. It stays the same as long as any connection is open.
#[derive(Clone)]
pub(super) struct Log(Arc<File>);

impl Log {
    /// The log of the database at this path, to which a connection is open.
    pub(super) fn of(database: &Path) -> std::io::Result<Self> {
        // It lies beside the file itself, wherever a link to that is.
        let mut path = database.canonicalize()?.into_os_string();
        path.push("-wal");
        Ok(Self(Arc::new(File::options().read(true).write(true).open(path)?)))
    }

    /// Stops the process when the disk does not keep what it was given.
    fn flush(&self) {
        if let Err(error) = self.0.sync_data() {
            tracing::error!(
                %error,
                "the database's log cannot be flushed to disk; stopping, so that nothing is acknowledged that may be lost: \
                 look at the disk, then start again"
            );
            std::process::abort();
        }
    }
}

fn flush(waiting: &Receiver<Ended>) {
    while let Ok(first) = waiting.recv() {
        let all: Vec<Ended> = std::iter::once(first).chain(waiting.try_iter()).collect();
        // It is another one only when the writer has lost its connection.
        for of_one_log in all.chunk_by(|a, b| Arc::ptr_eq(&a.log.0, &b.log.0)) {
            if let Some(ended) = of_one_log.iter().find(|ended| ended.committed) {
                ended.log.flush();
            }
        }
        for Ended { result, told, .. } in all {
            told.into_iter().for_each(|tell| tell(result.clone()));
        }
    }
}

//! The threads on which closures meet the database, and how they share transactions.
//!
//! SQLite has one writer, and most of what a small transaction costs is its commit. So closures that wait for the writer
//! share one: each is a savepoint, which can fail alone, and all of them are answered after the commit. PostgreSQL
//! commits those of its connections together by itself, and there a shared transaction would hold the rows of many.

use super::conn::{Access, Conn, Engine, Target};
use super::disk::{Disk, Ended, Log};
use crate::error::{Error, Result};
use crossbeam_channel::Receiver;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Closures in one transaction.
const SHARE_LIMIT: usize = 64;
/// A transaction that is older takes no more closures in: the first of them waits for its commit.
const SHARE_AGE: Duration = Duration::from_millis(2);

thread_local! {
    /// See [`beside_others`].
    static BESIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this closure may see what others have written in its transaction: that may yet be undone, and must not be kept in
/// memory as what the database says.
pub fn beside_others() -> bool {
    BESIDE.get()
}

/// So many transactions go before one that is in no hurry.
const TURNS: u32 = 8;

/// What waits for a database thread.
pub(super) struct Jobs {
    first: Receiver<Job>,
    patient: Receiver<Job>,
    /// Transactions since there was one of the patient ones.
    turns: u32,
}

impl Jobs {
    pub(super) fn new(first: Receiver<Job>, patient: Receiver<Job>) -> Self {
        Self { first, patient, turns: 0 }
    }

    /// Waits for the next one; none when there will be no more.
    fn next(&mut self) -> Option<Job> {
        if self.turns >= TURNS
            && let Ok(job) = self.patient.try_recv()
        {
            self.turns = 0;
            return Some(job);
        }
        if let Ok(job) = self.first.try_recv() {
            self.turns = self.turns.saturating_add(1);
            return Some(job);
        }
        self.turns = 0;
        crossbeam_channel::select! {
            recv(self.first) -> job => job.ok().or_else(|| self.patient.recv().ok()),
            recv(self.patient) -> job => job.ok().or_else(|| self.first.recv().ok()),
        }
    }
}

/// What a database thread does.
pub(super) struct Job {
    pub(super) access: Access,
    pub(super) work: Box<dyn FnOnce(&mut Conn) -> Done + Send>,
}

/// What a closure has done, before its transaction has ended.
pub(super) struct Done {
    pub(super) end: End,
    /// Tells the caller; the error is why nothing of it is in the database.
    pub(super) tell: Tell,
}

/// Answers a caller.
pub(super) type Tell = Box<dyn FnOnce(Result<()>) + Send>;

/// How a closure has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Keep what it wrote.
    Kept,
    /// It refuses, or has only read: undo what it wrote.
    Refused,
    /// As `Refused`, and the connection may be of no more use.
    Doubtful,
    /// It panicked: nobody knows what it has begun.
    Panicked,
}

/// Starts a thread with a connection of its own; SQLite's writer leaves its commits to the disk's thread.
pub(super) fn spawn(name: String, target: Arc<Target>, mut jobs: Jobs, disk: Option<Disk>) -> Result<()> {
    let thread = move || {
        let mut slot: Option<Session> = None;
        while let Some(job) = jobs.next() {
            let mut session = match begun(slot.take(), job.access, &target, disk.as_ref()) {
                Ok(session) => session,
                // Dropping the job answers its caller with `Busy`.
                Err(error) => {
                    tracing::warn!(%error, "cannot reach the database");
                    continue;
                }
            };
            if transaction(&mut session, job, &jobs.first) {
                slot = Some(session);
            }
        }
    };
    std::thread::Builder::new().name(name).spawn(thread).map(drop).map_err(Error::broken)
}

/// A connection, and what flushes its commits where it does not do so itself.
struct Session {
    conn: Conn,
    log: Option<(Disk, Log)>,
}

impl Session {
    fn open(target: &Target, disk: Option<&Disk>) -> Result<Self> {
        let mut conn = target.connect()?;
        let log = disk.map(|disk| Ok::<_, Error>((disk.clone(), target.log(&mut conn)?))).transpose()?;
        Ok(Self { conn, log })
    }
}

/// A connection, inside a new transaction unless none is wanted: the one at hand or, when it was lost while it lay idle, a new one.
fn begun(at_hand: Option<Session>, access: Access, target: &Target, disk: Option<&Disk>) -> Result<Session> {
    if let Some(mut session) = at_hand
        && session.conn.begin(access).is_ok()
    {
        return Ok(session);
    }
    let mut session = Session::open(target, disk)?;
    session.conn.begin(access)?;
    Ok(session)
}

/// Runs a job, and of those that wait as many as may share its transaction; answers whether the connection is good for more.
fn transaction(session: &mut Session, first: Job, jobs: &Receiver<Job>) -> bool {
    let (access, conn) = (first.access, &mut session.conn);
    if access == Access::Bare {
        let Done { end, tell } = (first.work)(conn);
        tell(Ok(()));
        return matches!(end, End::Kept | End::Refused);
    }
    let shares = matches!(access, Access::Write | Access::Turn) && conn.engine() == Engine::Sqlite;
    let (began, mut shared) = (Instant::now(), Shared::default());
    let mut next = Some(first);
    while let Some(Job { work, .. }) = next.take() {
        // Alone, the transaction itself is what can be undone.
        let alone = shared.told.is_empty() && (!shares || jobs.is_empty());
        let end = shared.run(conn, work, alone);
        let open = end == End::Kept || (end == End::Refused && !alone);
        if shares && open && shared.told.len() < SHARE_LIMIT && began.elapsed() < SHARE_AGE {
            next = jobs.try_recv().ok();
        }
    }
    shared.finish(session)
}

/// Closures of one transaction.
#[derive(Default)]
struct Shared {
    told: Vec<Tell>,
    /// Whether any of them is to be kept.
    kept: bool,
    /// Whether the connection may be of no more use.
    doubtful: bool,
    /// Whether nothing can be kept any more.
    lost: bool,
    /// Whether diesel no longer knows how deep it is in the transaction.
    raw: bool,
}

impl Shared {
    fn run(&mut self, conn: &mut Conn, work: Box<dyn FnOnce(&mut Conn) -> Done + Send>, alone: bool) -> End {
        if !alone && conn.open_savepoint().is_err() {
            // Dropping the closure answers its caller with `Busy`.
            (self.doubtful, self.lost) = (true, true);
            return End::Doubtful;
        }
        BESIDE.set(self.kept);
        let Done { end, tell } = work(conn);
        BESIDE.set(false);
        self.told.push(tell);
        match end {
            End::Kept => {
                self.kept = true;
                self.lost |= !alone && conn.keep().is_err();
            }
            End::Refused if alone => {}
            End::Refused => self.lost |= conn.undo().is_err(),
            End::Doubtful => {
                self.doubtful = true;
                // Those before it are committed, if the database still can.
                self.lost |= !alone && conn.undo().is_err();
            }
            End::Panicked => {
                self.doubtful = true;
                // It may have left savepoints open inside its own, of which diesel still keeps count.
                self.lost |=
                    !alone && conn.batch("ROLLBACK TO SAVEPOINT diesel_savepoint_1; RELEASE diesel_savepoint_1").is_err();
                self.raw = true;
            }
        }
        if self.lost { End::Doubtful } else { end }
    }

    /// Ends the transaction and tells everybody; answers whether the connection is good for more.
    fn finish(self, session: &mut Session) -> bool {
        const LOST: Error = Error::Busy("the database connection was lost");
        let conn = &mut session.conn;
        let ended = match (self.lost, self.kept) {
            // The connection is dropped, and the database undoes what was begun.
            (true, _) => Err(LOST),
            (false, true) if self.raw => conn.batch("COMMIT"),
            (false, true) => conn.keep(),
            // The panic was alone, or nothing beside it is to be kept.
            (false, false) if self.raw => Ok(()),
            (false, false) => conn.undo().map_err(|_| LOST),
        };
        let sound = ended.is_ok() && !self.doubtful;
        match &session.log {
            None => self.told.into_iter().for_each(|tell| tell(ended.clone())),
            // Also those who wrote nothing: they may have seen what is not on disk yet.
            Some((disk, log)) => {
                let (log, committed) = (log.clone(), self.kept);
                disk.take(Ended { log, committed, result: ended, told: self.told });
            }
        }
        sound
    }
}

//! The worker: one chunk, one transaction.

use super::line::{DeviceLine, UserLine};
use super::store::{self, Job, Kind, State, Waiting};
use super::{Effects, LineError, Outcome, Tally, devices, users};
use crate::error::{Error, Result};
use crate::id::{AppId, ImportId, SessionId};
use crate::people::account::SESSIONS_TOPIC;
use crate::people::erasure;
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use crate::worker::{Progress, Worker};
use std::collections::HashSet;

/// Longest wait without a hint, in milliseconds.
const POLL_MS: u64 = 1_000;

/// The worker that works on imports.
pub fn worker(platform: &Platform) -> Worker {
    let platform = platform.clone();
    Worker::new("import", platform.import_hint.clone(), POLL_MS, move || {
        let platform = platform.clone();
        async move { step(&platform).await }
    })
}

/// One step: a chunk of the import whose turn it is.
///
/// # Errors
/// What the database says.
pub async fn step(platform: &Platform) -> Result<Progress> {
    let Some((app, id)) = platform.store.read(store::next).await? else { return Ok(Progress::Idle) };
    let (of, cache) = (platform.clone(), platform.cache.clone());
    let write = move |conn: &mut Conn| {
        let (tally, effects) = work(conn, &of, (app, id))?;
        Ok(((tally, effects.sessions), Whose::Users(effects.users)))
    };
    let tell = move |(_, ended): &(Tally, Vec<SessionId>)| {
        ended.iter().for_each(|id| cache.publish(SESSIONS_TOPIC, &id.to_string()));
    };
    let (tally, _) = match platform.write_and_fence(app, write, tell).await {
        // Lines that break us stand in nobody's way.
        Err(Error::Broken(what)) => {
            tracing::error!(what, import = %id, "a chunk of an import failed");
            let of = platform.clone();
            let give_up = move |conn: &mut Conn| give_up(conn, &of, (app, id)).map(|tally| (tally, Vec::new()));
            platform.store.write(give_up).await?
        }
        done => done?,
    };
    for (outcome, lines) in [("created", tally.created), ("updated", tally.updated), ("failed", tally.failed)] {
        metrics::counter!("kairos_import_lines_total", "outcome" => outcome).increment(u64::try_from(lines).unwrap_or(0));
    }
    Ok(Progress::More)
}

/// Ends a chunk none of whose lines could be worked on.
fn give_up(conn: &mut Conn, platform: &Platform, (app, id): (AppId, ImportId)) -> Result<Tally> {
    conn.serialise(&format!("import:{id}"))?;
    let mut tally = Tally::default();
    let open = store::read(conn, app, id)?.filter(|job| matches!(job.state, State::Waiting | State::Running));
    if let Some(job) = open
        && let Some(chunk) = store::chunk(conn, app, id)?
    {
        let message = "these lines could not be worked on; the fault is ours and has been logged";
        tally.fail(chunk.lines, LineError::new(chunk.first_line, "internal", message));
        store::end_chunk(conn, &job, (chunk.seq, &tally), platform.clock.now_ms())?;
    }
    Ok(tally)
}

fn work(conn: &mut Conn, platform: &Platform, (app, id): (AppId, ImportId)) -> Result<(Tally, Effects)> {
    // Another node that has the same chunk in mind waits here, and takes the next one.
    conn.serialise(&format!("import:{id}"))?;
    let (mut tally, mut effects) = (Tally::default(), Effects::default());
    let open = store::read(conn, app, id)?.filter(|job| matches!(job.state, State::Waiting | State::Running));
    let Some(job) = open else { return Ok((tally, effects)) };
    let Some(chunk) = store::chunk(conn, app, id)? else { return Err(Error::broken("an open import without lines")) };
    let now_ms = platform.clock.now_ms();
    match platform.master_key.open(&context(app, id, chunk.seq), &chunk.sealed) {
        Ok(text) => {
            let mut batch = Batch { platform, job: &job, now_ms, tally: &mut tally, effects: &mut effects };
            batch.work(conn, &read((platform, &job), (&chunk, &text), now_ms))?;
        }
        Err(error) => {
            tracing::error!(%error, import = %id, "lines of an import cannot be read");
            tally.fail(
                chunk.lines,
                LineError::new(chunk.first_line, "internal", "these lines could not be read again: send them once more"),
            );
        }
    }
    store::end_chunk(conn, &job, (chunk.seq, &tally), now_ms)?;
    Ok((tally, effects))
}

/// For what lines are sealed.
pub(super) fn context(app: AppId, id: ImportId, seq: i64) -> String {
    format!("import_chunks|{app}|{id}|{seq}")
}

/// A line that can be worked on.
enum Wanted {
    User(Box<users::Wanted>),
    Device(Box<devices::Wanted>),
}

/// The lines of a chunk with their numbers.
fn read((platform, job): (&Platform, &Job), (chunk, text): (&Waiting, &[u8]), now_ms: i64) -> Vec<(i64, Result<Wanted>)> {
    let one = |line: &[u8]| match job.kind {
        Kind::Users => users::Wanted::check(UserLine::read(line)?, now_ms).map(|user| Wanted::User(Box::new(user))),
        Kind::Devices => devices::Wanted::check(DeviceLine::read(line)?, platform).map(|device| Wanted::Device(Box::new(device))),
    };
    let numbered = (chunk.first_line..).zip(text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii));
    numbered.filter(|(_, line)| !line.is_empty()).map(|(number, line)| (number, one(line))).collect()
}

/// A chunk that is being worked on.
struct Batch<'a> {
    platform: &'a Platform,
    job: &'a Job,
    now_ms: i64,
    tally: &'a mut Tally,
    effects: &'a mut Effects,
}

impl Batch<'_> {
    fn work(&mut self, conn: &mut Conn, lines: &[(i64, Result<Wanted>)]) -> Result<()> {
        let names: Vec<String> = lines
            .iter()
            .filter_map(|(_, line)| match line {
                Ok(Wanted::User(user)) => Some(user.names()),
                Ok(Wanted::Device(_)) | Err(_) => None,
            })
            .flatten()
            .collect();
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        let users = lines.iter().filter_map(|(_, line)| match line {
            Ok(Wanted::User(user)) => Some(user.as_ref()),
            Ok(Wanted::Device(_)) | Err(_) => None,
        });
        users::hold(conn, self.job.app, &users.collect::<Vec<_>>())?;
        let buried = erasure::buried(conn, &self.platform.master_key, self.job.app, &names)?;
        let made = self.make(conn, lines, &buried)?;
        for (number, line) in lines {
            match line {
                Ok(_) if made.contains(number) => self.tally.count(Outcome::Created),
                Ok(wanted) => {
                    let done = self.line(conn, wanted, &buried);
                    self.settle(*number, done)?;
                }
                Err(error) => self.fail(*number, error)?,
            }
        }
        Ok(())
    }

    /// Makes the users whom nobody knows, all at once; the numbers of their lines. When anything is wrong with one of
    /// them, none is made: each gets a turn of its own.
    fn make(&self, conn: &mut Conn, lines: &[(i64, Result<Wanted>)], buried: &HashSet<&str>) -> Result<HashSet<i64>> {
        let (place, now_ms) = ((self.platform, self.job.app), self.now_ms);
        let users = lines.iter().filter_map(|(number, line)| match line {
            Ok(Wanted::User(user)) => Some((*number, user.as_ref())),
            Ok(Wanted::Device(_)) | Err(_) => None,
        });
        let unknown = users::unknown(conn, self.job.app, users, buried)?;
        if unknown.is_empty() {
            return Ok(HashSet::new());
        }
        match conn.savepoint(|conn| users::make(conn, place, (&unknown, now_ms))) {
            Ok(()) => Ok(unknown.iter().map(|(number, _)| *number).collect()),
            Err(Error::Busy(what)) => Err(Error::Busy(what)),
            Err(Error::Refused(_) | Error::Broken(_)) => Ok(HashSet::new()),
        }
    }

    /// One line: what it does is undone alone when it fails.
    fn line(&self, conn: &mut Conn, wanted: &Wanted, buried: &HashSet<&str>) -> Result<(Outcome, Effects)> {
        let (place, now_ms) = ((self.platform, self.job.app), self.now_ms);
        let mut once = || {
            conn.savepoint(|conn| match wanted {
                Wanted::User(user) => user.work(conn, place, (buried, now_ms)),
                Wanted::Device(device) => device.work(conn, place, now_ms),
            })
        };
        match once() {
            // Somebody made the same user a moment ago: now they are known.
            Err(Error::Refused(problem)) if problem.code == "already_exists" => once(),
            done => done,
        }
    }

    fn settle(&mut self, number: i64, done: Result<(Outcome, Effects)>) -> Result<()> {
        match done {
            Ok((outcome, Effects { sessions, users })) => {
                self.tally.count(outcome);
                self.effects.sessions.extend(sessions);
                self.effects.users.extend(users);
                Ok(())
            }
            Err(error) => self.fail(number, &error),
        }
    }

    /// Notes what is wrong with a line. What is wrong with the database is not the line's fault.
    fn fail(&mut self, number: i64, error: &Error) -> Result<()> {
        let error = match error {
            Error::Refused(problem) => LineError::of(number, problem),
            Error::Busy(what) => return Err(Error::Busy(what)),
            Error::Broken(what) => {
                tracing::error!(what, import = %self.job.id, line = number, "a line of an import failed");
                LineError::new(number, "internal", "the fault is ours and has been logged")
            }
        };
        self.tally.fail(1, error);
        Ok(())
    }
}

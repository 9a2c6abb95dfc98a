//! Imports and their lines in the database, and what a line asks of users.

use super::chunk::Chunk;
use super::{LineError, Tally};
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, ImportId, UserId};
use crate::on;
use crate::store::schema::{import_chunks, imports, users};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};

/// Longest time from one piece of a body to the next one's write, in milliseconds: what a client may take, and the database.
pub(super) const RECEIVING_MS: i64 = 120_000;

/// What is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ImportKind)]
pub enum Kind {
    /// Users.
    Users,
    /// Devices.
    Devices,
}

impl Kind {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Devices => "devices",
        }
    }
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ImportState)]
pub enum State {
    /// Its body is arriving.
    Receiving,
    /// Nobody has worked on it yet.
    Waiting,
    /// Some of its lines are done.
    Running,
    /// All of them are.
    Done,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
        }
    }
}

/// An import.
#[derive(Debug, Clone)]
pub struct Job {
    /// The tenant.
    pub app: AppId,
    /// Its id.
    pub id: ImportId,
    /// What is imported.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// Lines of the body that say something.
    pub lines: i64,
    /// Those that have been worked on.
    pub done: i64,
    /// Those that made something.
    pub created: i64,
    /// Those that changed something that was known.
    pub updated: i64,
    /// Those that failed.
    pub failed: i64,
    /// What was wrong with the first of those.
    pub errors: Vec<LineError>,
    /// When it was sent, in UTC milliseconds.
    pub created_ms: i64,
    /// When it was done, in UTC milliseconds.
    pub finished_ms: Option<i64>,
    /// Keyed hash of the body.
    pub(super) body_hash: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = imports)]
struct Row {
    app_id: AppId,
    id: ImportId,
    kind: String,
    state: String,
    body_hash: String,
    lines: i64,
    done: i64,
    created: i64,
    updated: i64,
    failed: i64,
    errors: Doc<Vec<LineError>>,
    created_ms: i64,
    finished_ms: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Job> {
        let kinds = [Kind::Users, Kind::Devices];
        let states = [State::Receiving, State::Waiting, State::Running, State::Done];
        let unknown = || Error::broken("an import has an unknown kind or state");
        Ok(Job {
            app: self.app_id,
            id: self.id,
            kind: kinds.into_iter().find(|kind| kind.name() == self.kind).ok_or_else(unknown)?,
            state: states.into_iter().find(|state| state.name() == self.state).ok_or_else(unknown)?,
            lines: self.lines,
            done: self.done,
            created: self.created,
            updated: self.updated,
            failed: self.failed,
            errors: self.errors.0,
            created_ms: self.created_ms,
            finished_ms: self.finished_ms,
            body_hash: self.body_hash,
        })
    }
}

/// Begins to receive an import.
///
/// # Errors
/// 429 when the app has too many open ones.
pub(super) fn open(conn: &mut Conn, (app, id, kind): (AppId, ImportId, Kind), (most, now_ms): (i64, i64)) -> Result<()> {
    conn.serialise(&format!("imports:{app}"))?;
    // A body whose next piece is overdue has died with its connection or its server, and takes nobody's place.
    let alive = imports::state.ne(State::Receiving.name()).or(imports::worked_ms.ge(now_ms - RECEIVING_MS));
    let open = imports::table.filter(imports::app_id.eq(app).and(imports::finished_ms.is_null()).and(alive));
    let n: i64 = on!(conn, c => open.count().get_result(c))?;
    if n >= most {
        let detail =
            format!("An app may have at most {most} imports under way. Wait until one is done, then send this one again.");
        let mut problem = Problem::new(429, "too_many_imports", detail);
        problem.retry_after_s = Some(10);
        return Err(problem.into());
    }
    let row = (
        imports::app_id.eq(app),
        imports::id.eq(id),
        imports::kind.eq(kind.name()),
        imports::state.eq(State::Receiving.name()),
        imports::body_hash.eq(""),
        (imports::lines.eq(0_i64), imports::done.eq(0_i64), imports::created.eq(0_i64)),
        (imports::updated.eq(0_i64), imports::failed.eq(0_i64)),
        imports::errors.eq(Doc(Vec::<LineError>::new())),
        imports::created_ms.eq(now_ms),
        imports::worked_ms.eq(now_ms),
    );
    on!(conn, c => diesel::insert_into(imports::table).values(row).execute(c))?;
    Ok(())
}

/// Adds chunks to an import that is being received: (number, chunk without its text, sealed text).
///
/// # Errors
/// 408 when it was given up meanwhile.
pub(super) fn add(conn: &mut Conn, (app, id): (AppId, ImportId), chunks: &[(i64, Chunk, Vec<u8>)], now_ms: i64) -> Result<()> {
    let job = imports::table.find((app, id)).filter(imports::state.eq(State::Receiving.name()));
    if on!(conn, c => diesel::update(job).set(imports::worked_ms.eq(now_ms)).execute(c))? == 0 {
        return Err(Problem::new(408, "body_too_slow", "The body took too long to arrive.").into());
    }
    for (seq, chunk, sealed) in chunks {
        let row = (
            import_chunks::app_id.eq(app),
            import_chunks::import_id.eq(id),
            import_chunks::seq.eq(seq),
            import_chunks::first_line.eq(chunk.first_line),
            import_chunks::lines.eq(chunk.lines),
            import_chunks::lines_sealed.eq(sealed),
        );
        on!(conn, c => diesel::insert_into(import_chunks::table).values(row).execute(c))?;
    }
    Ok(())
}

/// The whole body is there: the import waits for its turn.
///
/// # Errors
/// 408 when it was given up meanwhile; 409 when another one has the key.
pub(super) fn received(
    conn: &mut Conn,
    (app, id, kind): (AppId, ImportId, Kind),
    (lines, body_hash): (i64, &str),
    key_hash: Option<&str>,
) -> Result<()> {
    if let Some(key) = key_hash {
        conn.serialise(&format!("import key:{app}:{key}"))?;
        if by_key(conn, app, (kind, key))?.is_some() {
            return Err(Error::conflict("import_exists", "An import with this Idempotency-Key was sent at the same time."));
        }
    }
    let job = imports::table.find((app, id)).filter(imports::state.eq(State::Receiving.name()));
    let values = (
        imports::state.eq(State::Waiting.name()),
        imports::lines.eq(lines),
        imports::body_hash.eq(body_hash),
        imports::key_hash.eq(key_hash),
    );
    if on!(conn, c => diesel::update(job).set(values).execute(c))? == 0 {
        return Err(Problem::new(408, "body_too_slow", "The body took too long to arrive.").into());
    }
    Ok(())
}

/// Gives up an import that was not received.
pub(super) fn give_up(conn: &mut Conn, (app, id): (AppId, ImportId)) -> Result<usize> {
    let job = imports::table.find((app, id)).filter(imports::state.eq(State::Receiving.name()));
    let gone = on!(conn, c => diesel::delete(job).execute(c))?;
    if gone == 1 {
        let chunks = import_chunks::table.filter(import_chunks::app_id.eq(app).and(import_chunks::import_id.eq(id)));
        on!(conn, c => diesel::delete(chunks).execute(c))?;
    }
    Ok(gone)
}

/// The import that was sent with a key.
pub(super) fn by_key(conn: &mut Conn, app: AppId, (kind, key_hash): (Kind, &str)) -> Result<Option<Job>> {
    let row: Option<Row> = on!(conn, c => imports::table
        .filter(imports::app_id.eq(app).and(imports::kind.eq(kind.name())).and(imports::key_hash.eq(key_hash)))
        .select(Row::as_select())
        .first(c)
        .optional())?;
    row.map(Row::read).transpose()
}

/// An import.
pub(super) fn read(conn: &mut Conn, app: AppId, id: ImportId) -> Result<Option<Job>> {
    let row: Option<Row> = on!(conn, c => imports::table.find((app, id)).select(Row::as_select()).first(c).optional())?;
    row.map(Row::read).transpose()
}

/// The import whose turn it is.
pub(super) fn next(conn: &mut Conn) -> Result<Option<(AppId, ImportId)>> {
    Ok(on!(conn, c => imports::table
        .filter(imports::finished_ms.is_null().and(imports::state.ne(State::Receiving.name())))
        .order((imports::worked_ms, imports::app_id, imports::id))
        .select((imports::app_id, imports::id))
        .first(c)
        .optional())?)
}

/// Lines that wait, as they are stored.
#[derive(Queryable)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) first_line: i64,
    pub(super) lines: i64,
    pub(super) sealed: Vec<u8>,
}

/// The first chunk of an import that is left.
pub(super) fn chunk(conn: &mut Conn, app: AppId, id: ImportId) -> Result<Option<Waiting>> {
    Ok(on!(conn, c => import_chunks::table
        .filter(import_chunks::app_id.eq(app).and(import_chunks::import_id.eq(id)))
        .order(import_chunks::seq)
        .select((import_chunks::seq, import_chunks::first_line, import_chunks::lines, import_chunks::lines_sealed))
        .first(c)
        .optional())?)
}

/// Ends a chunk: it is gone, and counted. The import is done with its last one.
pub(super) fn end_chunk(conn: &mut Conn, job: &Job, (seq, tally): (i64, &Tally), now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::delete(import_chunks::table.find((job.app, job.id, seq))).execute(c))?;
    let left = chunk(conn, job.app, job.id)?.is_some();
    let mut errors = job.errors.clone();
    errors.extend(tally.errors.iter().cloned());
    errors.truncate(super::ERRORS_MAX);
    let values = (
        imports::state.eq(if left { State::Running.name() } else { State::Done.name() }),
        imports::done.eq(job.done + tally.done),
        imports::created.eq(job.created + tally.created),
        imports::updated.eq(job.updated + tally.updated),
        imports::failed.eq(job.failed + tally.failed),
        imports::errors.eq(Doc(errors)),
        imports::worked_ms.eq(now_ms),
        imports::finished_ms.eq((!left).then_some(now_ms)),
    );
    on!(conn, c => diesel::update(imports::table.find((job.app, job.id))).set(values).execute(c))?;
    Ok(())
}

/// The user with an external id, leaving or not.
pub(super) fn by_external(conn: &mut Conn, app: AppId, external: &str) -> Result<Option<UserId>> {
    Ok(on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(users::external_id.eq(external)))
        .select(users::id)
        .first(c)
        .optional())?)
}

/// The users with these external ids, leaving or not.
pub(super) fn by_externals(conn: &mut Conn, app: AppId, all: &[&str]) -> Result<BTreeSet<UserId>> {
    let found: Vec<UserId> = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(users::external_id.eq_any(all)))
        .select(users::id)
        .load(c))?;
    Ok(found.into_iter().collect())
}

/// Those of these external ids that somebody has, leaving or not.
pub(super) fn known_externals(conn: &mut Conn, app: AppId, all: &[&str]) -> Result<HashSet<String>> {
    let found: Vec<Option<String>> = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(users::external_id.eq_any(all)))
        .select(users::external_id)
        .load(c))?;
    Ok(found.into_iter().flatten().collect())
}

/// Writes when a user came to the system that they come from.
pub(super) fn came(conn: &mut Conn, (app, user): (AppId, UserId), at_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(users::table.find((app, user))).set(users::created_ms.eq(at_ms)).execute(c))?;
    Ok(())
}

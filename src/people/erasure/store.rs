//! Erasures and tombstones in the database, and the mark of users who leave.

use super::Asked;
use crate::error::{Error, Result};
use crate::id::{AppId, ErasureId, UserId};
use crate::on;
use crate::store::schema::{erasures, tombstones, users};
use crate::store::{Conn, among, part};
use diesel::prelude::*;
use std::collections::HashSet;

/// How many values one insert takes.
const CHUNK: usize = 500;

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ErasureState)]
pub enum State {
    /// It can still be undone.
    Waiting,
    /// It is being done.
    Running,
    /// Nothing is left.
    Done,
    /// It was taken back.
    Restored,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Restored => "restored",
        }
    }

    fn named(word: &str) -> Result<Self> {
        let all = [Self::Waiting, Self::Running, Self::Done, Self::Restored];
        all.into_iter().find(|s| s.name() == word).ok_or_else(|| Error::broken("an erasure is in an unknown state"))
    }
}

/// An erasure.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The tenant.
    pub app: AppId,
    /// Its id.
    pub id: ErasureId,
    /// Whose data, until nothing of them is left.
    pub user: Option<UserId>,
    /// How far it is.
    pub state: State,
    /// When it was asked for, in UTC milliseconds.
    pub asked_ms: i64,
    /// From when it is done, in UTC milliseconds.
    pub due_ms: i64,
    /// Since when it is being done, in UTC milliseconds.
    pub began_ms: Option<i64>,
    /// When it was over, in UTC milliseconds.
    pub ended_ms: Option<i64>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = erasures)]
struct Row {
    app_id: AppId,
    id: ErasureId,
    user_id: Option<UserId>,
    asked_ms: i64,
    due_ms: i64,
    state: String,
    began_ms: Option<i64>,
    ended_ms: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Erasure> {
        let Self { app_id, id, user_id, asked_ms, due_ms, state, began_ms, ended_ms } = self;
        Ok(Erasure { app: app_id, id, user: user_id, state: State::named(&state)?, asked_ms, due_ms, began_ms, ended_ms })
    }
}

fn of_user(conn: &mut Conn, app: AppId, user: UserId) -> Result<Option<Erasure>> {
    let row: Option<Row> = on!(conn, c => erasures::table
        .filter(erasures::app_id.eq(app).and(erasures::user_id.eq(user)))
        .select(Row::as_select())
        .first(c)
        .optional())?;
    row.map(Row::read).transpose()
}

fn leaving(conn: &mut Conn, app: AppId, user: UserId, since_ms: Option<i64>) -> Result<usize> {
    let target = users::table.filter(users::app_id.eq(app).and(users::id.eq(user)));
    Ok(match since_ms {
        // Whoever is leaving already (a merge, another erasure) does not leave again.
        Some(since_ms) => on!(conn, c => diesel::update(target.filter(users::leaving_ms.is_null()))
            .set(users::leaving_ms.eq(since_ms)).execute(c))?,
        None => on!(conn, c => diesel::update(target).set(users::leaving_ms.eq(None::<i64>)).execute(c))?,
    })
}

pub(super) fn begin(conn: &mut Conn, app: AppId, asked: &Asked) -> Result<(Erasure, bool)> {
    conn.serialise(&format!("user:{app}:{}", asked.user))?;
    if let Some(known) = of_user(conn, app, asked.user)? {
        return Ok((known, false));
    }
    if leaving(conn, app, asked.user, Some(asked.asked_ms))? == 0 {
        return Err(Error::not_found("user"));
    }
    let row = (
        erasures::app_id.eq(app),
        erasures::id.eq(asked.id),
        erasures::user_id.eq(asked.user),
        erasures::asked_by.eq(&asked.by),
        erasures::asked_ms.eq(asked.asked_ms),
        erasures::due_ms.eq(asked.due_ms),
        erasures::state.eq(State::Waiting.name()),
    );
    on!(conn, c => diesel::insert_into(erasures::table).values(row).execute(c))?;
    Ok((read(conn, app, asked.id)?, true))
}

pub(super) fn is_waiting(conn: &mut Conn, app: AppId, user: UserId) -> Result<bool> {
    Ok(of_user(conn, app, user)?.is_some_and(|erasure| erasure.state == State::Waiting))
}

pub(super) fn restore(conn: &mut Conn, app: AppId, user: UserId, now_ms: Option<i64>) -> Result<bool> {
    let target = erasures::table
        .filter(erasures::app_id.eq(app).and(erasures::user_id.eq(user)).and(erasures::state.eq(State::Waiting.name())));
    let values =
        (erasures::state.eq(State::Restored.name()), erasures::user_id.eq(None::<UserId>), erasures::ended_ms.eq(now_ms));
    if on!(conn, c => diesel::update(target).set(values).execute(c))? == 0 {
        return Ok(false);
    }
    leaving(conn, app, user, None)?;
    Ok(true)
}

pub(super) fn read(conn: &mut Conn, app: AppId, id: ErasureId) -> Result<Erasure> {
    let row: Option<Row> = on!(conn, c => erasures::table.find((app, id)).select(Row::as_select()).first(c).optional())?;
    row.ok_or_else(|| Error::not_found("erasure"))?.read()
}

pub(super) fn due(conn: &mut Conn, now_ms: i64) -> Result<(Option<Erasure>, Option<i64>)> {
    let open = || erasures::table.filter(part("state in ('waiting', 'running')"));
    let due: Option<Row> = on!(conn, c => open()
        .filter(erasures::due_ms.le(now_ms))
        .order((erasures::due_ms, erasures::id))
        .select(Row::as_select())
        .first(c)
        .optional())?;
    let next_ms: Option<i64> =
        on!(conn, c => open().filter(erasures::due_ms.gt(now_ms)).select(diesel::dsl::min(erasures::due_ms)).first(c))?;
    Ok((due.map(Row::read).transpose()?, next_ms))
}

pub(super) fn start(conn: &mut Conn, erasure: &Erasure, now_ms: i64) -> Result<bool> {
    let target = erasures::table.find((erasure.app, erasure.id)).filter(erasures::state.eq(State::Waiting.name()));
    let values = (erasures::state.eq(State::Running.name()), erasures::began_ms.eq(now_ms));
    Ok(on!(conn, c => diesel::update(target).set(values).execute(c))? == 1)
}

pub(super) fn postpone(conn: &mut Conn, erasure: &Erasure, due_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(erasures::table.find((erasure.app, erasure.id))).set(erasures::due_ms.eq(due_ms)).execute(c))?;
    Ok(())
}

pub(super) fn end(conn: &mut Conn, erasure: &Erasure, now_ms: i64) -> Result<()> {
    let values = (erasures::state.eq(State::Done.name()), erasures::user_id.eq(None::<UserId>), erasures::ended_ms.eq(now_ms));
    on!(conn, c => diesel::update(erasures::table.find((erasure.app, erasure.id))).set(values).execute(c))?;
    Ok(())
}

pub(super) fn bury(conn: &mut Conn, app: AppId, hashes: &[String], now_ms: i64) -> Result<()> {
    for chunk in hashes.chunks(CHUNK) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|hash| (tombstones::app_id.eq(app), tombstones::hash.eq(hash), tombstones::erased_ms.eq(now_ms)))
            .collect();
        on!(conn, c => diesel::insert_into(tombstones::table)
            .values(&rows)
            .on_conflict((tombstones::app_id, tombstones::hash))
            .do_nothing()
            .execute(c))?;
    }
    Ok(())
}

pub(super) fn buried<'a>(conn: &mut Conn, app: AppId, hashes: impl Iterator<Item = &'a str>) -> Result<HashSet<String>> {
    let found: Vec<String> = on!(conn, c => tombstones::table
        .filter(tombstones::app_id.eq(app).and(among(tombstones::hash, hashes)))
        .select(tombstones::hash)
        .load(c))?;
    Ok(found.into_iter().collect())
}

//! Direct pushes, their walks and whom they still have to visit, in the database.

mod ends;
mod open;

pub(in crate::moment::direct) use ends::{Decided, Sent, count_after, decided, fates, sent};
pub(in crate::moment::direct) use open::{OpenRow, Settled, blank, open_after, settle};

use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, PushId, UserId};
use crate::moment::direct::tally::Tally;
use crate::moment::direct::zones::{EVERYBODY, SCOUT};
use crate::moment::direct::{Spec, State, Target, Unknown};
use crate::moment::terms::Terms;
use crate::on;
use crate::store::schema::{choices, decisions, push_runs, push_targets, pushes, users};
use crate::store::{Conn, Doc, among, part};
use diesel::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Rows of one statement.
const CHUNK: usize = 500;

/// A push as it is stored.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = pushes, treat_none_as_default_value = false)]
pub(in crate::moment::direct) struct PushRow {
    pub app_id: AppId,
    pub id: PushId,
    pub name: Option<String>,
    pub state: String,
    pub test: bool,
    pub spec: Doc<Spec>,
    pub unknown: Doc<Vec<Unknown>>,
    pub key_hash: Option<String>,
    pub body_hash: String,
    pub visited: i64,
    pub outside: Doc<BTreeMap<String, i64>>,
    pub settled: Doc<Tally>,
    pub cursor_user_id: Option<UserId>,
    pub due_ms: i64,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
}

/// A walk through an audience, or a part of it.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = push_runs, treat_none_as_default_value = false)]
pub(in crate::moment::direct) struct RunRow {
    pub app_id: AppId,
    pub push_id: PushId,
    pub zone: String,
    pub due_ms: i64,
    pub cursor_user_id: Option<UserId>,
    pub done: bool,
}

impl RunRow {
    pub fn new((app_id, push_id): (AppId, PushId), zone: &str, due_ms: i64) -> Self {
        Self { app_id, push_id, zone: zone.to_owned(), due_ms, cursor_user_id: None, done: false }
    }
}

impl PushRow {
    pub fn state(&self) -> Result<State> {
        state(&self.state)
    }

    /// Whether its audience may be visited.
    pub fn is_open(&self) -> bool {
        [State::Scheduled, State::Running].iter().any(|state| state.name() == self.state)
    }
}

fn state(word: &str) -> Result<State> {
    State::named(word).ok_or_else(|| Error::broken("a push has an unknown state"))
}

/// Writes a new push with its walks and its targets.
pub(in crate::moment::direct) fn insert(conn: &mut Conn, row: &PushRow, (runs, targets): (&[RunRow], &[Target])) -> Result<()> {
    on!(conn, c => diesel::insert_into(pushes::table).values(row).execute(c))?;
    insert_runs(conn, runs)?;
    type Values = (
        diesel::dsl::Eq<push_targets::app_id, AppId>,
        diesel::dsl::Eq<push_targets::push_id, PushId>,
        diesel::dsl::Eq<push_targets::user_id, UserId>,
        diesel::dsl::Eq<push_targets::devices, Option<Doc<Vec<DeviceId>>>>,
    );
    for chunk in targets.chunks(CHUNK) {
        let rows: Vec<Values> = chunk
            .iter()
            .map(|target| {
                (
                    push_targets::app_id.eq(row.app_id),
                    push_targets::push_id.eq(row.id),
                    push_targets::user_id.eq(target.user_id),
                    push_targets::devices.eq(target.devices.clone().map(Doc)),
                )
            })
            .collect();
        on!(conn, c => diesel::insert_into(push_targets::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Adds walks; one that is there stays as it is.
pub(in crate::moment::direct) fn insert_runs(conn: &mut Conn, rows: &[RunRow]) -> Result<()> {
    for row in rows {
        on!(conn, c => diesel::insert_into(push_runs::table).values(row)
            .on_conflict((push_runs::app_id, push_runs::push_id, push_runs::zone)).do_nothing().execute(c))?;
    }
    Ok(())
}

pub(in crate::moment::direct) fn get(conn: &mut Conn, app: AppId, id: PushId) -> Result<Option<PushRow>> {
    Ok(on!(conn, c => pushes::table.find((app, id)).select(PushRow::as_select()).first(c).optional())?)
}

pub(in crate::moment::direct) fn by_key(conn: &mut Conn, app: AppId, key_hash: &str) -> Result<Option<PushRow>> {
    Ok(on!(conn, c => pushes::table
        .filter(pushes::app_id.eq(app).and(pushes::key_hash.eq(key_hash)))
        .select(PushRow::as_select()).first(c).optional())?)
}

/// Pushes before an id, the newest first.
pub(in crate::moment::direct) fn page(
    conn: &mut Conn,
    app: AppId,
    (before, state, limit): (&str, Option<State>, i64),
) -> Result<Vec<PushRow>> {
    Ok(on!(conn, c => {
        let mut query = pushes::table.filter(pushes::app_id.eq(app)).into_boxed();
        if !before.is_empty() {
            query = query.filter(pushes::id.lt(before));
        }
        if let Some(state) = state {
            query = query.filter(pushes::state.eq(state.name()));
        }
        query.order(pushes::id.desc()).limit(limit).select(PushRow::as_select()).load(c)
    })?)
}

/// How many pushes of an app have not ended.
pub(in crate::moment::direct) fn open_count(conn: &mut Conn, app: AppId) -> Result<i64> {
    Ok(on!(conn, c => pushes::table
        .filter(pushes::app_id.eq(app).and(pushes::ended_ms.is_null())).count().get_result(c))?)
}

/// Walks that have not reached their end.
const OPEN: &str = "done = false";

/// When the next walk falls due.
pub(in crate::moment::direct) fn first_due_ms(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(on!(conn, c => push_runs::table
        .filter(part(OPEN))
        .order((push_runs::due_ms, push_runs::app_id, push_runs::push_id))
        .select(push_runs::due_ms).first(c).optional())?)
}

/// The app whose turn it is: the next one after this text, in the order of ids and round again, with a walk that is due.
pub(in crate::moment::direct) fn next_app(conn: &mut Conn, after: &str, now_ms: i64) -> Result<Option<AppId>> {
    for after in [after, ""] {
        let due = part(OPEN).and(push_runs::due_ms.le(now_ms)).and(push_runs::app_id.gt(after));
        let app: Option<AppId> = on!(conn, c => push_runs::table
            .filter(due).order(push_runs::app_id).select(push_runs::app_id).first(c).optional())?;
        if app.is_some() {
            return Ok(app);
        }
    }
    Ok(None)
}

/// The walks of an app that are due, the earliest first: one that has just moved on stands behind those that wait.
pub(in crate::moment::direct) fn due(conn: &mut Conn, app: AppId, (now_ms, limit): (i64, i64)) -> Result<Vec<RunRow>> {
    Ok(on!(conn, c => push_runs::table
        .filter(part(OPEN).and(push_runs::due_ms.le(now_ms)).and(push_runs::app_id.eq(app)))
        .order((push_runs::due_ms, push_runs::push_id, push_runs::zone))
        .limit(limit).select(RunRow::as_select()).load(c))?)
}

/// These pushes, by id.
pub(in crate::moment::direct) fn by_ids(conn: &mut Conn, app: AppId, ids: &[PushId]) -> Result<HashMap<PushId, PushRow>> {
    let rows: Vec<PushRow> = on!(conn, c => pushes::table
        .filter(pushes::app_id.eq(app).and(among(pushes::id, ids))).select(PushRow::as_select()).load(c))?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// What the choices of these pushes say; nothing of one that was cancelled or is not there.
pub(in crate::moment) fn terms_of(
    conn: &mut Conn,
    app: AppId,
    ids: impl Iterator<Item = PushId>,
) -> Result<HashMap<PushId, Arc<Terms>>> {
    let ids: HashSet<PushId> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = by_ids(conn, app, &ids.into_iter().collect::<Vec<_>>())?;
    let live = rows.into_values().filter(|row| row.state != State::Cancelled.name());
    live.map(|row| Ok((row.id, Arc::new(row.spec.0.terms(row.id)?)))).collect()
}

/// Whom a list names and nobody has visited yet, in the order of ids: of everybody, or of those who live in a zone.
pub(in crate::moment::direct) fn targets(conn: &mut Conn, run: &RunRow, limit: i64) -> Result<Vec<Target>> {
    type Row = (UserId, Option<Doc<Vec<DeviceId>>>);
    let own = push_targets::app_id.eq(run.app_id).and(push_targets::push_id.eq(run.push_id));
    let columns = (push_targets::user_id, push_targets::devices);
    let rows: Vec<Row> = if run.zone == EVERYBODY {
        on!(conn, c => push_targets::table.filter(own).order(push_targets::user_id).limit(limit).select(columns).load(c))?
    } else {
        let of_user = users::app_id.eq(push_targets::app_id).and(users::id.eq(push_targets::user_id));
        on!(conn, c => push_targets::table
            .inner_join(users::table.on(of_user))
            .filter(own.and(users::zone.eq(&run.zone)))
            .order(push_targets::user_id).limit(limit).select(columns).load(c))?
    };
    Ok(rows.into_iter().map(|(user_id, devices)| Target { user_id, devices: devices.map(|doc| doc.0) }).collect())
}

/// Which of these users these pushes have decided about already.
pub(in crate::moment::direct) fn met(
    conn: &mut Conn,
    app: AppId,
    (of, whom): (&[PushId], &[UserId]),
) -> Result<HashSet<(PushId, UserId)>> {
    let campaigns: Vec<CampaignId> = of.iter().map(|id| id.uuid().into()).collect();
    let rows: Vec<(Option<CampaignId>, UserId)> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(among(decisions::campaign_id.assume_not_null(), &campaigns)))
        .filter(decisions::moment_id.is_null().and(among(decisions::user_id, whom)))
        .select((decisions::campaign_id, decisions::user_id))
        .load(c))?;
    Ok(rows.into_iter().filter_map(|(campaign, user)| Some((campaign?.uuid().into(), user))).collect())
}

/// Moves a walk on and queues it behind whoever is due by now; false when somebody else has done so meanwhile.
pub(in crate::moment::direct) fn advance(
    conn: &mut Conn,
    run: &RunRow,
    (to, done): (Option<UserId>, bool),
    due_ms: i64,
) -> Result<bool> {
    let at = push_runs::table.find((run.app_id, run.push_id, &run.zone)).filter(push_runs::done.eq(false));
    let values =
        (push_runs::cursor_user_id.eq(to.or(run.cursor_user_id)), push_runs::done.eq(done), push_runs::due_ms.eq(due_ms));
    let rows = match run.cursor_user_id {
        Some(user) => on!(conn, c => diesel::update(at.filter(push_runs::cursor_user_id.eq(user))).set(values).execute(c))?,
        None => on!(conn, c => diesel::update(at.filter(push_runs::cursor_user_id.is_null())).set(values).execute(c))?,
    };
    Ok(rows == 1)
}

/// Lets a walk wait until then.
pub(in crate::moment::direct) fn postpone(conn: &mut Conn, run: &RunRow, due_ms: i64) -> Result<()> {
    let at = push_runs::table.find((run.app_id, run.push_id, &run.zone));
    on!(conn, c => diesel::update(at).set(push_runs::due_ms.eq(due_ms)).execute(c))?;
    Ok(())
}

/// Ends a walk.
pub(in crate::moment::direct) fn end_run(conn: &mut Conn, run: &RunRow) -> Result<bool> {
    advance(conn, run, (None, true), run.due_ms)
}

/// Takes visited users off a list; false when somebody else has done so meanwhile.
pub(in crate::moment::direct) fn strike(conn: &mut Conn, run: &RunRow, visited: &[UserId]) -> Result<bool> {
    let those = push_targets::table
        .filter(push_targets::app_id.eq(run.app_id).and(push_targets::push_id.eq(run.push_id)))
        .filter(among(push_targets::user_id, visited));
    let rows = on!(conn, c => diesel::delete(those).execute(c))?;
    Ok(rows == visited.len())
}

/// Notes that users were visited; false when the push has been cancelled.
pub(in crate::moment::direct) fn visited(
    conn: &mut Conn,
    (app, id): (AppId, PushId),
    (more, outside): (i64, &BTreeMap<String, i64>),
) -> Result<bool> {
    let at = pushes::table.find((app, id)).filter(pushes::state.eq_any([State::Scheduled.name(), State::Running.name()]));
    let values = (pushes::state.eq(State::Running.name()), pushes::visited.eq(pushes::visited + more));
    if on!(conn, c => diesel::update(at).set(values).execute(c))? == 0 {
        return Ok(false);
    }
    if outside.is_empty() {
        return Ok(true);
    }
    // The row is locked by now.
    let mut all: Doc<BTreeMap<String, i64>> = on!(conn, c => pushes::table.find((app, id)).select(pushes::outside).first(c))?;
    for (reason, n) in outside {
        *all.0.entry(reason.clone()).or_default() += n;
    }
    on!(conn, c => diesel::update(pushes::table.find((app, id))).set(pushes::outside.eq(all)).execute(c))?;
    Ok(true)
}

/// Stops a push that has not ended: its walks and its list are gone. False when it has ended, or was stopped before.
pub(in crate::moment::direct) fn stop(conn: &mut Conn, app: AppId, id: PushId) -> Result<bool> {
    let at = pushes::table.find((app, id)).filter(pushes::state.eq_any([State::Scheduled.name(), State::Running.name()]));
    let rows = on!(conn, c => diesel::update(at).set(pushes::state.eq(State::Cancelled.name())).execute(c))?;
    clear(conn, app, id)?;
    Ok(rows == 1)
}

/// Forgets the walks and the list of a push.
pub(in crate::moment::direct) fn clear(conn: &mut Conn, app: AppId, id: PushId) -> Result<()> {
    let runs = push_runs::table.filter(push_runs::app_id.eq(app).and(push_runs::push_id.eq(id)));
    on!(conn, c => diesel::delete(runs).execute(c))?;
    let list = push_targets::table.filter(push_targets::app_id.eq(app).and(push_targets::push_id.eq(id)));
    on!(conn, c => diesel::delete(list).execute(c))?;
    Ok(())
}

/// Held choices of a push: decision, choice, when they were to go out.
pub(in crate::moment::direct) fn held(
    conn: &mut Conn,
    (app, id): (AppId, PushId),
    limit: i64,
) -> Result<Vec<(DecisionId, ChoiceId, i64)>> {
    let campaign: CampaignId = id.uuid().into();
    Ok(on!(conn, c => choices::table
        .inner_join(decisions::table.on(decisions::app_id.eq(choices::app_id).and(decisions::id.eq(choices::decision_id))))
        .filter(decisions::app_id.eq(app).and(decisions::campaign_id.eq(campaign)).and(decisions::moment_id.is_null()))
        .filter(choices::state.eq("held"))
        .limit(limit)
        .select((choices::decision_id, choices::id, choices::planned_ms))
        .load(c))?)
}

/// Whether a push has still to visit somebody.
pub(in crate::moment::direct) fn walks(conn: &mut Conn, app: AppId, id: PushId) -> Result<bool> {
    let open = push_runs::table.filter(push_runs::app_id.eq(app).and(push_runs::push_id.eq(id)).and(push_runs::done.eq(false)));
    Ok(on!(conn, c => open.count().get_result::<i64>(c))? > 0)
}

/// Whether a walk through a zone is not done.
pub(in crate::moment::direct) fn walks_zones(conn: &mut Conn, app: AppId, id: PushId) -> Result<bool> {
    let zones = push_runs::zone.ne_all([EVERYBODY, SCOUT]).and(push_runs::done.eq(false));
    let open = push_runs::table.filter(push_runs::app_id.eq(app).and(push_runs::push_id.eq(id)).and(zones));
    Ok(on!(conn, c => open.count().get_result::<i64>(c))? > 0)
}

/// Whether none of these pushes was stopped. What is no push, a Live Activity, is nobody's to stop here.
pub(in crate::moment) fn stand(conn: &mut Conn, app: AppId, ids: impl Iterator<Item = PushId>) -> Result<bool> {
    let ids: HashSet<PushId> = ids.collect();
    if ids.is_empty() {
        return Ok(true);
    }
    let stopped: i64 = on!(conn, c => pushes::table
        .filter(pushes::app_id.eq(app).and(among(pushes::id, &ids)).and(pushes::state.eq(State::Cancelled.name())))
        .count().get_result(c))?;
    Ok(stopped == 0)
}

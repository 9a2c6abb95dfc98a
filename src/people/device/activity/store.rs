//! Tokens of Live Activities in the database.

use super::Running;
use crate::error::Result;
use crate::id::{ActivityId, AppId, DeviceId, UserId};
use crate::on;
use crate::people::device::Verdict;
use crate::platform::personal::Merge;
use crate::store::schema::{activity_devices, devices, start_tokens};
use crate::store::{Conn, among};
use diesel::prelude::*;
use std::collections::{HashMap, HashSet};

#[derive(Queryable, Selectable)]
#[diesel(table_name = activity_devices)]
struct Row {
    activity_id: ActivityId,
    device_id: DeviceId,
    user_id: UserId,
    token: Option<String>,
    token_ms: Option<i64>,
    created_ms: i64,
    ended_ms: Option<i64>,
}

impl From<Row> for Running {
    fn from(row: Row) -> Self {
        let Row { activity_id, device_id, user_id, token, token_ms, created_ms, ended_ms } = row;
        Self { activity_id, device_id, user_id, token, token_ms, created_ms, ended_ms }
    }
}

/// Takes a token from every row but those of this device that are about to be written; answers whose it was.
pub(super) fn take(conn: &mut Conn, app: AppId, device: DeviceId, token: &str) -> Result<Vec<UserId>> {
    let starts = start_tokens::table.filter(start_tokens::app_id.eq(app).and(start_tokens::token.eq(token)));
    let running = activity_devices::table.filter(activity_devices::app_id.eq(app).and(activity_devices::token.eq(token)));
    let mut of: Vec<(UserId, DeviceId)> =
        on!(conn, c => starts.select((start_tokens::user_id, start_tokens::device_id)).load(c))?;
    let more: Vec<(UserId, DeviceId)> =
        on!(conn, c => running.select((activity_devices::user_id, activity_devices::device_id)).load(c))?;
    of.extend(more);
    if of.is_empty() {
        return Ok(Vec::new());
    }
    on!(conn, c => diesel::delete(starts).execute(c))?;
    on!(conn, c => diesel::update(running)
        .set((activity_devices::token.eq(None::<String>), activity_devices::token_ms.eq(None::<i64>)))
        .execute(c))?;
    Ok(of.into_iter().filter(|(_, other)| *other != device).map(|(user, _)| user).collect())
}

/// Answers whether there was none of this type before.
pub(super) fn put_start(
    conn: &mut Conn,
    app: AppId,
    (user, device): (UserId, DeviceId),
    (attributes_type, token, now_ms): (&str, &str, i64),
) -> Result<bool> {
    let values = (start_tokens::user_id.eq(user), start_tokens::token.eq(token), start_tokens::token_ms.eq(now_ms));
    let known = start_tokens::table.find((app, device, attributes_type));
    if on!(conn, c => diesel::update(known).set(values).execute(c))? > 0 {
        return Ok(false);
    }
    let key =
        (start_tokens::app_id.eq(app), start_tokens::device_id.eq(device), start_tokens::attributes_type.eq(attributes_type));
    on!(conn, c => diesel::insert_into(start_tokens::table).values((key, values)).execute(c))?;
    Ok(true)
}

pub(super) fn types(conn: &mut Conn, app: AppId, device: DeviceId) -> Result<i64> {
    let own = start_tokens::table.filter(start_tokens::app_id.eq(app).and(start_tokens::device_id.eq(device)));
    Ok(on!(conn, c => own.count().get_result(c))?)
}

pub(super) fn drop_start(conn: &mut Conn, app: AppId, device: DeviceId, attributes_type: &str) -> Result<bool> {
    let row = start_tokens::table.find((app, device, attributes_type));
    Ok(on!(conn, c => diesel::delete(row).execute(c))? > 0)
}

pub(super) fn start_tokens(
    conn: &mut Conn,
    app: AppId,
    (attributes_type, ids): (&str, &[DeviceId]),
) -> Result<HashMap<DeviceId, String>> {
    let rows: Vec<(DeviceId, String)> = on!(conn, c => start_tokens::table
        .filter(start_tokens::app_id.eq(app).and(among(start_tokens::device_id, ids)))
        .filter(start_tokens::attributes_type.eq(attributes_type))
        .select((start_tokens::device_id, start_tokens::token))
        .load(c))?;
    Ok(rows.into_iter().collect())
}

pub(super) fn named(conn: &mut Conn, app: AppId, device: DeviceId, name: &str) -> Result<Option<Running>> {
    let row: Option<Row> = on!(conn, c => activity_devices::table
        .filter(activity_devices::app_id.eq(app).and(activity_devices::device_id.eq(device)))
        .filter(activity_devices::name.eq(name))
        .select(Row::as_select())
        .first(c)
        .optional())?;
    Ok(row.map(Running::from))
}

pub(super) fn running(conn: &mut Conn, app: AppId, device: DeviceId) -> Result<i64> {
    Ok(on!(conn, c => activity_devices::table
        .filter(activity_devices::app_id.eq(app).and(activity_devices::device_id.eq(device)))
        .filter(activity_devices::ended_ms.is_null())
        .count()
        .get_result(c))?)
}

pub(super) fn join(conn: &mut Conn, app: AppId, (running, name): (&Running, &str)) -> Result<()> {
    let values = (
        activity_devices::app_id.eq(app),
        activity_devices::activity_id.eq(running.activity_id),
        activity_devices::device_id.eq(running.device_id),
        activity_devices::user_id.eq(running.user_id),
        activity_devices::name.eq(name),
        activity_devices::created_ms.eq(running.created_ms),
    );
    on!(conn, c => diesel::insert_into(activity_devices::table).values(values).on_conflict_do_nothing().execute(c))?;
    Ok(())
}

pub(super) fn put_running(
    conn: &mut Conn,
    app: AppId,
    (activity, device): (ActivityId, DeviceId),
    (token, now_ms): (&str, i64),
) -> Result<()> {
    on!(conn, c => diesel::update(activity_devices::table.find((app, activity, device)))
        .set((
            activity_devices::token.eq(token),
            activity_devices::token_ms.eq(now_ms),
            activity_devices::ended_ms.eq(None::<i64>),
        ))
        .execute(c))?;
    Ok(())
}

/// What an activity has that is over on a device.
#[derive(AsChangeset)]
#[diesel(table_name = activity_devices, treat_none_as_null = true)]
struct Over {
    token: Option<String>,
    token_ms: Option<i64>,
    ended_ms: Option<i64>,
}

impl Over {
    fn since(now_ms: i64) -> Self {
        Self { token: None, token_ms: None, ended_ms: Some(now_ms) }
    }
}

pub(super) fn end(conn: &mut Conn, app: AppId, (activity, device): (ActivityId, DeviceId), now_ms: i64) -> Result<()> {
    let row = activity_devices::table.find((app, activity, device)).filter(activity_devices::ended_ms.is_null());
    on!(conn, c => diesel::update(row).set(Over::since(now_ms)).execute(c))?;
    Ok(())
}

pub(super) fn on_devices(conn: &mut Conn, app: AppId, activity: ActivityId, (after, limit): (&str, i64)) -> Result<Vec<Running>> {
    let rows: Vec<Row> = on!(conn, c => activity_devices::table
        .filter(activity_devices::app_id.eq(app).and(activity_devices::activity_id.eq(activity)))
        .filter(activity_devices::device_id.gt(after))
        .order(activity_devices::device_id)
        .limit(limit)
        .select(Row::as_select())
        .load(c))?;
    Ok(rows.into_iter().map(Running::from).collect())
}

pub(super) fn held(conn: &mut Conn, app: AppId, ids: &[DeviceId]) -> Result<HashSet<(DeviceId, UserId, String)>> {
    let live = || devices::app_id.eq(app).and(among(devices::id, ids)).and(devices::token.is_not_null());
    let starts: Vec<(DeviceId, UserId, String)> = on!(conn, c => start_tokens::table
        .inner_join(devices::table.on(devices::app_id.eq(start_tokens::app_id)
            .and(devices::id.eq(start_tokens::device_id))
            .and(devices::user_id.eq(start_tokens::user_id.nullable()))))
        .filter(live())
        .select((start_tokens::device_id, start_tokens::user_id, start_tokens::token))
        .load(c))?;
    let running: Vec<(DeviceId, UserId, String)> = on!(conn, c => activity_devices::table
        .inner_join(devices::table.on(devices::app_id.eq(activity_devices::app_id)
            .and(devices::id.eq(activity_devices::device_id))
            .and(devices::user_id.eq(activity_devices::user_id.nullable()))))
        .filter(live().and(activity_devices::token.is_not_null()))
        .select((activity_devices::device_id, activity_devices::user_id, activity_devices::token.assume_not_null()))
        .load(c))?;
    Ok(starts.into_iter().chain(running).collect())
}

pub(super) fn kill(conn: &mut Conn, app: AppId, device: DeviceId, verdict: Verdict<'_>) -> Result<bool> {
    let Verdict { token, at_ms } = verdict;
    let starts = on!(conn, c => diesel::delete(start_tokens::table
            .filter(start_tokens::app_id.eq(app).and(start_tokens::device_id.eq(device)).and(start_tokens::token.eq(token)))
            .filter(start_tokens::token_ms.le(at_ms)))
        .execute(c))?;
    let own = activity_devices::app_id.eq(app).and(activity_devices::device_id.eq(device));
    let running = on!(conn, c => diesel::update(activity_devices::table
            .filter(own.and(activity_devices::token.eq(token)).and(activity_devices::token_ms.le(at_ms))))
        .set(Over::since(at_ms))
        .execute(c))?;
    Ok(starts + running > 0)
}

pub(super) fn forget(conn: &mut Conn, app: AppId, ids: &[DeviceId]) -> Result<()> {
    let starts = start_tokens::table.filter(start_tokens::app_id.eq(app).and(among(start_tokens::device_id, ids)));
    on!(conn, c => diesel::delete(starts).execute(c))?;
    let running = activity_devices::table.filter(activity_devices::app_id.eq(app).and(among(activity_devices::device_id, ids)));
    on!(conn, c => diesel::delete(running).execute(c))?;
    Ok(())
}

pub(super) fn forget_user(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    let starts = start_tokens::table.filter(start_tokens::app_id.eq(app).and(start_tokens::user_id.eq(user)));
    on!(conn, c => diesel::delete(starts).execute(c))?;
    let running = activity_devices::table.filter(activity_devices::app_id.eq(app).and(activity_devices::user_id.eq(user)));
    on!(conn, c => diesel::delete(running).execute(c))?;
    Ok(())
}

pub(super) fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let &Merge { app, from, into, .. } = merge;
    let went = || {
        devices::table
            .filter(devices::app_id.eq(app).and(devices::user_id.eq(into)).and(devices::token.is_not_null()))
            .select(devices::id)
    };
    let starts = || start_tokens::table.filter(start_tokens::app_id.eq(app).and(start_tokens::user_id.eq(from)));
    on!(conn, c => diesel::delete(starts().filter(start_tokens::device_id.ne_all(went()))).execute(c))?;
    on!(conn, c => diesel::update(starts()).set(start_tokens::user_id.eq(into)).execute(c))?;
    let running = || activity_devices::table.filter(activity_devices::app_id.eq(app).and(activity_devices::user_id.eq(from)));
    on!(conn, c => diesel::delete(running().filter(activity_devices::device_id.ne_all(went()))).execute(c))?;
    on!(conn, c => diesel::update(running()).set(activity_devices::user_id.eq(into)).execute(c))?;
    Ok(())
}

pub(super) fn forget_activities(conn: &mut Conn, app: AppId, ids: &[ActivityId]) -> Result<usize> {
    let those = activity_devices::table.filter(activity_devices::app_id.eq(app).and(among(activity_devices::activity_id, ids)));
    Ok(on!(conn, c => diesel::delete(those).execute(c))?)
}

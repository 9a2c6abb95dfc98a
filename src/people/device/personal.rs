//! What the room of devices holds of a user: installations, with their push tokens and those of Live Activities.

use super::activity;
use super::store::Nothing;
use crate::error::Result;
use crate::id::{AppId, DeviceId, SessionId, UserId};
use crate::on;
use crate::platform::epoch;
use crate::platform::personal::{Merge, OF_USER, Room, Table, plain, time};
use crate::store::Conn;
use crate::store::schema::{devices, sessions};
use diesel::prelude::*;

/// See `platform::personal`.
pub const ROOM: Room = Room {
    tables: &[
        Table {
            name: "start_tokens",
            shown_in: None,
            section: "live_activity_start_tokens",
            key: "(device_id || ' ' || attributes_type)",
            whose: OF_USER,
            shows: &[plain("device_id"), plain("attributes_type"), plain("token"), time("token_ms")],
            finish: None,
        },
        Table {
            name: "activity_devices",
            shown_in: None,
            section: "live_activities",
            key: "(activity_id || ' ' || device_id)",
            whose: OF_USER,
            shows: &[
                plain("activity_id"),
                plain("device_id"),
                plain("name"),
                plain("token"),
                time("token_ms"),
                time("created_ms"),
                time("ended_ms"),
            ],
            finish: None,
        },
        Table {
            name: "devices",
            shown_in: None,
            section: "devices",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("installation_id"),
                plain("platform"),
                plain("token"),
                plain("web_keys"),
                plain("environment"),
                plain("topic"),
                plain("locale"),
                plain("time_zone"),
                plain("push_permission"),
                plain("app_version"),
                plain("session_id"),
                plain("badge"),
                time("token_ms"),
                time("last_seen_ms"),
                time("created_ms"),
            ],
            finish: None,
        },
    ],
    erase: None,
    turn_over: Some(turn_over),
    absorb: None,
};

/// Takes the tokens from all devices of a user who leaves, and moves their epoch: no message finds a way any more.
///
/// # Errors
/// What the database says.
pub fn drop_tokens(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    let own = devices::table.filter(devices::app_id.eq(app).and(devices::user_id.eq(user)));
    on!(conn, c => diesel::update(own)
        .set(Nothing::default())
        .execute(c))?;
    activity::forget_user(conn, app, user)?;
    epoch::bump(conn, app, epoch::Scope::Consent(user))
}

/// The ids of a user's devices.
///
/// # Errors
/// What the database says.
pub fn ids(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<DeviceId>> {
    Ok(on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)))
        .order(devices::id)
        .select(devices::id)
        .load(c))?)
}

/// Devices go to the account. A token goes along only when its end is in sight (I6): when the app's back end registered
/// it, or an open session of the account did. Where the account knows the installation already its own row stays, and
/// takes the token if it has none.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let &Merge { app, from, into, .. } = merge;
    let of = move |user: UserId| devices::table.filter(devices::app_id.eq(app).and(devices::user_id.eq(user)));
    let open = sessions::table
        .filter(sessions::app_id.eq(app).and(sessions::user_id.eq(into)).and(sessions::ended_ms.is_null()))
        .select(sessions::id.nullable());
    let stray = of(from).filter(devices::session_id.is_not_null().and(devices::session_id.ne_all(open)));
    on!(conn, c => diesel::update(stray).set(Nothing::default()).execute(c))?;
    type Columns = (DeviceId, String, Option<String>, Option<i64>, Option<SessionId>, String, Option<String>);
    let columns = (
        devices::id,
        devices::installation_id,
        devices::token,
        devices::token_ms,
        devices::session_id,
        devices::platform,
        devices::web_keys,
    );
    let moving: Vec<Columns> = on!(conn, c => of(from).select(columns).load(c))?;
    let known: Vec<Columns> = on!(conn, c => of(into).select(columns).load(c))?;
    for (id, installation, token, token_ms, session, platform, web_keys) in moving {
        let Some(own) = known.iter().find(|device| device.1 == installation) else {
            on!(conn, c => diesel::update(devices::table.find((app, id))).set(devices::user_id.eq(into)).execute(c))?;
            continue;
        };
        on!(conn, c => diesel::delete(devices::table.find((app, id))).execute(c))?;
        if own.2.is_none() && own.5 == platform {
            on!(conn, c => diesel::update(devices::table.find((app, own.0)))
                .set((
                    devices::token.eq(&token),
                    devices::token_ms.eq(token_ms),
                    devices::web_keys.eq(&web_keys),
                    devices::session_id.eq(session),
                ))
                .execute(c))?;
        }
    }
    activity::turn_over(conn, merge)?;
    epoch::bump_users(conn, app, &[from, into])?;
    super::settle_zone(conn, app, into)
}

//! What phones say of activities: by which token one of a type is started, to which the updates of one go, and its end.

use super::store::{self, Activity};
use super::{ACTIVE_MS, LINGERS_MS, lock};
use crate::error::{Error, Result};
use crate::id::{ActivityId, AppId, Ids, UserId};
use crate::people::device::activity::{self as tokens, Running};
use crate::push::activity::readdress;
use crate::store::Conn;

/// A user's installation that says something.
pub(super) struct Phone {
    pub app: AppId,
    pub user: UserId,
    pub installation_id: String,
    /// Whether the user signed in with a test key.
    pub test: bool,
}

/// A token as a phone says it.
pub(super) struct Said {
    /// `act_…` of an activity that we have started, else the phone's own name for it.
    pub name: String,
    pub attributes_type: String,
    pub token: String,
}

/// Notes to which token an activity's updates go; one that the phone has begun by itself is made known by it. Answers which
/// it is, and the other users who had that token.
///
/// # Errors
/// 404, 409.
pub(super) fn put(conn: &mut Conn, phone: &Phone, said: &Said, (ids, now_ms): (&Ids, i64)) -> Result<(ActivityId, Vec<UserId>)> {
    let app = phone.app;
    let device = tokens::phone(conn, app, phone.user, &phone.installation_id)?;
    conn.serialise(&format!("activities of:{app}:{}", device.id))?;
    let known = tokens::named(conn, app, device.id, &said.name)?;
    let running = match known {
        Some(running) => running,
        // One that we have started is known before its phone hears of it.
        None if said.name.parse::<ActivityId>().is_ok() => return Err(Error::not_found("activity")),
        None => begin(conn, (phone, said), (device.id, ids.next()), now_ms)?,
    };
    let id = running.activity_id;
    lock(conn, app, id)?;
    let row = super::find(conn, app, id)?;
    if row.attributes_type != said.attributes_type {
        return Err(Error::invalid("attributes_type", "conflict", "the activity is of another type"));
    }
    if row.over_ms <= now_ms {
        return Err(Error::conflict("activity_over", "The activity has ended: its token is of no more use."));
    }
    let displaced = tokens::put_running(conn, app, &running, (&said.token, now_ms))?;
    readdress(conn, app, (id, device.id), (&said.token, now_ms))?;
    Ok((id, displaced))
}

/// An activity that the app has begun without us.
fn begin(conn: &mut Conn, (phone, said): (&Phone, &Said), of: (crate::id::DeviceId, ActivityId), now_ms: i64) -> Result<Running> {
    let (device_id, id) = of;
    let row = Activity {
        app_id: phone.app,
        id,
        attributes_type: said.attributes_type.clone(),
        test: phone.test,
        spec: None,
        start: None,
        channel_id: None,
        timestamp_s: 0,
        key_hash: None,
        body_hash: String::new(),
        created_ms: now_ms,
        over_ms: now_ms + ACTIVE_MS + LINGERS_MS,
        ended_ms: None,
        end_id: None,
        swept: false,
    };
    store::insert(conn, &row)?;
    let (user_id, created_ms) = (phone.user, now_ms);
    let running = Running { activity_id: id, device_id, user_id, token: None, token_ms: None, created_ms, ended_ms: None };
    tokens::begin(conn, phone.app, &running, &said.name)?;
    Ok(running)
}

/// Notes that an activity is over on a phone.
///
/// # Errors
/// 404.
pub(super) fn end(conn: &mut Conn, phone: &Phone, name: &str, now_ms: i64) -> Result<()> {
    let device = tokens::phone(conn, phone.app, phone.user, &phone.installation_id)?;
    let running = tokens::named(conn, phone.app, device.id, name)?.ok_or_else(|| Error::not_found("activity"))?;
    lock(conn, phone.app, running.activity_id)?;
    tokens::end(conn, phone.app, &running, now_ms)
}

//! Addresses of Live Activities: tokens by which an app on a phone lets one be started from afar, and those of the ones
//! that run. They are kept apart from the tokens of devices, and a gateway's word about one says nothing about the others.
//!
//! They live beside a device's own token alone: whenever that one goes (another user, a sign-out, an erasure, a gateway's
//! verdict), they go with it in the same transaction (I6). Topic and environment are the device's.

mod store;

use super::{Device, Platform, Verdict};
use crate::error::{Error, Problem, Result};
use crate::id::{ActivityId, AppId, DeviceId, UserId};
use crate::platform::epoch;
use crate::platform::personal::Merge;
use crate::store::Conn;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Most types of activities that may be started on a device.
const TYPES_LIMIT: i64 = 32;
/// Most activities that run on a device.
const RUNNING_LIMIT: i64 = 64;
/// Longest token, in hex digits. Apple names no length.
const TOKEN_LIMIT: usize = 400;

/// An activity on one phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which activity.
    pub activity_id: ActivityId,
    /// Where.
    pub device_id: DeviceId,
    /// Whose device it is.
    pub user_id: UserId,
    /// To which its updates go; none until the phone has said it, and after it is dead.
    pub token: Option<String>,
    /// When the phone said it last, UTC milliseconds.
    pub token_ms: Option<i64>,
    /// UTC milliseconds.
    pub created_ms: i64,
    /// When the phone or Apple said that it is over, UTC milliseconds.
    pub ended_ms: Option<i64>,
}

/// Checks a token's shape and gives it the one form in which it is kept.
///
/// # Errors
/// 400 that names `token` and never repeats it.
pub fn token(text: &str) -> Result<String> {
    let hex = (1..=TOKEN_LIMIT).contains(&text.len()) && text.len().is_multiple_of(2);
    if hex && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let message = format!("expected the token of ActivityKit in hex: an even number of digits, at most {TOKEN_LIMIT}");
    Err(Error::invalid("token", "invalid", message))
}

/// Checks the name of a type of activities: a Swift type as the app spells it.
///
/// # Errors
/// 400 that names the field.
pub fn attributes_type(field: &str, text: &str) -> Result<()> {
    let good = text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    if good && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') {
        return Ok(());
    }
    Err(Error::invalid(field, "invalid", "expected the name of a Swift type such as FlightAttributes, at most 100 characters"))
}

/// A user's device that can have activities: an iPhone with a token of its own.
///
/// # Errors
/// 404, 409 `no_device_token`.
pub fn phone(conn: &mut Conn, app: AppId, user: UserId, installation_id: &str) -> Result<Device> {
    let device = super::of_installation(conn, app, user, installation_id)?;
    if device.traits.platform == Platform::Ios && device.traits.token.is_some() {
        return Ok(device);
    }
    let detail = "Only a device on iOS that is registered with its own push token has Live Activities: register that first.";
    Err(Error::conflict("no_device_token", detail))
}

/// Notes by which token activities of a type are started on a user's device; it takes the place of the one before, and is
/// moved here from wherever it was. Answers the other users who had it: their sends are to be fenced out.
///
/// # Errors
/// 409 `too_many_start_tokens`.
pub fn put_start(conn: &mut Conn, app: AppId, of: (UserId, DeviceId), start: (&str, &str, i64)) -> Result<Vec<UserId>> {
    let (attributes_type, token, now_ms) = start;
    let displaced = take(conn, app, of, token)?;
    if store::put_start(conn, app, of, (attributes_type, token, now_ms))? && store::types(conn, app, of.1)? > TYPES_LIMIT {
        let detail = format!("A device may have start tokens of at most {TYPES_LIMIT} types; delete one.");
        return Err(Problem::new(409, "too_many_start_tokens", detail).into());
    }
    Ok(displaced)
}

/// Forgets by which token activities of a type are started on a device.
///
/// # Errors
/// 404.
pub fn drop_start(conn: &mut Conn, app: AppId, device: DeviceId, attributes_type: &str) -> Result<()> {
    let gone = store::drop_start(conn, app, device, attributes_type)?;
    if gone { Ok(()) } else { Err(Error::not_found("start token")) }
}

/// Which activity a phone means by this name.
///
/// # Errors
/// What the database says.
pub fn named(conn: &mut Conn, app: AppId, device: DeviceId, name: &str) -> Result<Option<Running>> {
    store::named(conn, app, device, name)
}

/// Notes an activity that a phone has begun by itself, without a token yet.
///
/// # Errors
/// 409 `too_many_activities`.
pub fn begin(conn: &mut Conn, app: AppId, running: &Running, name: &str) -> Result<()> {
    if store::running(conn, app, running.device_id)? >= RUNNING_LIMIT {
        let detail = format!("At most {RUNNING_LIMIT} activities may run on a device; say which have ended.");
        return Err(Problem::new(409, "too_many_activities", detail).into());
    }
    store::join(conn, app, (running, name))
}

/// Notes activities that are to be started on devices.
///
/// # Errors
/// What the database says.
pub fn join(conn: &mut Conn, app: AppId, all: &[Running]) -> Result<()> {
    all.iter().try_for_each(|running| store::join(conn, app, (running, &running.activity_id.to_string())))
}

/// Notes to which token the updates of an activity on a user's device go from now on; as [`put_start`].
///
/// # Errors
/// What the database says.
pub fn put_running(conn: &mut Conn, app: AppId, running: &Running, to: (&str, i64)) -> Result<Vec<UserId>> {
    let displaced = take(conn, app, (running.user_id, running.device_id), to.0)?;
    store::put_running(conn, app, (running.activity_id, running.device_id), to)?;
    Ok(displaced)
}

/// Notes that an activity is over on a device: its token is of no more use. One that has ended before stays so.
///
/// # Errors
/// What the database says.
pub fn end(conn: &mut Conn, app: AppId, running: &Running, now_ms: i64) -> Result<()> {
    store::end(conn, app, (running.activity_id, running.device_id), now_ms)
}

/// Takes a token from whoever has it.
fn take(conn: &mut Conn, app: AppId, (user, device): (UserId, DeviceId), token: &str) -> Result<Vec<UserId>> {
    conn.serialise(&format!("token:{app}:activity:{token}"))?;
    let displaced: BTreeSet<UserId> = store::take(conn, app, device, token)?.into_iter().filter(|other| *other != user).collect();
    let displaced: Vec<UserId> = displaced.into_iter().collect();
    epoch::bump_users(conn, app, &displaced)?;
    Ok(displaced)
}

/// The tokens by which activities of a type are started on these devices.
///
/// # Errors
/// What the database says.
pub fn start_tokens(
    conn: &mut Conn,
    app: AppId,
    (attributes_type, devices): (&str, &[DeviceId]),
) -> Result<HashMap<DeviceId, String>> {
    store::start_tokens(conn, app, (attributes_type, devices))
}

/// Where an activity was started or has begun, after a device and in the order of devices.
///
/// # Errors
/// What the database says.
pub fn on_devices(conn: &mut Conn, app: AppId, activity: ActivityId, page: (&str, i64)) -> Result<Vec<Running>> {
    store::on_devices(conn, app, activity, page)
}

/// All tokens that these devices hold, with their users; none where a device has lost its own. What is asked of each
/// message on its way out.
///
/// # Errors
/// What the database says.
pub fn held(conn: &mut Conn, app: AppId, devices: &[DeviceId]) -> Result<HashSet<(DeviceId, UserId, String)>> {
    store::held(conn, app, devices)
}

/// Deletes a token of an activity that Apple called dead, by the rule of [`super::kill_token`]; no other token of the
/// device is touched. Answers whether it was deleted.
///
/// # Errors
/// What the database says.
pub fn kill(conn: &mut Conn, app: AppId, device: DeviceId, verdict: Verdict<'_>) -> Result<bool> {
    store::kill(conn, app, device, verdict)
}

/// These devices have lost their own tokens: whatever they had for activities goes too.
pub(super) fn forget(conn: &mut Conn, app: AppId, devices: &[DeviceId]) -> Result<()> {
    if devices.is_empty() { Ok(()) } else { store::forget(conn, app, devices) }
}

/// All of a user's devices have lost their own tokens.
pub(super) fn forget_user(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    store::forget_user(conn, app, user)
}

/// After the devices: what went to the account with its token takes the activities along.
pub(super) fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    store::turn_over(conn, merge)
}

/// Forgets everything about these activities on all devices; answers how many rows there were.
///
/// # Errors
/// What the database says.
pub fn forget_activities(conn: &mut Conn, app: AppId, ids: &[ActivityId]) -> Result<usize> {
    store::forget_activities(conn, app, ids)
}

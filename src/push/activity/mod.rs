//! Live Activities: what goes on for somebody, shown on the lock screen and kept up to date there.
//!
//! What goes to one is a message like any other, with a token of `people::device::activity` in the place of the device's.
//! Its start is a message of a campaign under the activity's own UUID; each update has one of its own. An update that the
//! phone has no token for yet waits without one, due at its deadline: there it ends as `expired`, unless the phone says
//! its token first, or a newer update takes its place.

mod frame;
mod shown;

pub use crate::people::device::activity::attributes_type;
pub use frame::{Alert, BROADCAST_LIMIT_BYTES, Event, Frame, FrameIn, PAYLOAD_LIMIT_BYTES, Start};
pub use shown::{ID_ATTRIBUTE, Shown};

use super::message::NewMessage;
use super::store;
use crate::error::Result;
use crate::id::{ActivityId, AppId, DeviceId};
use crate::people::device::activity::{self as tokens, Running};
use crate::store::Conn;
use std::collections::BTreeMap;

/// Notes on which devices activities are about to start.
pub(super) fn begin(conn: &mut Conn, messages: &[NewMessage], now_ms: i64) -> Result<()> {
    let mut started: BTreeMap<AppId, Vec<Running>> = BTreeMap::new();
    for message in messages {
        let Some(shown) = message.activity.as_ref().filter(|shown| shown.event == Event::Start) else { continue };
        started.entry(message.app_id).or_default().push(Running {
            activity_id: shown.activity_id,
            device_id: message.device_id,
            user_id: message.user_id,
            token: None,
            token_ms: None,
            created_ms: now_ms,
            ended_ms: None,
        });
    }
    started.iter().try_for_each(|(app, all)| tokens::join(conn, *app, all))
}

/// A phone has said to which token an activity's updates go from now on: those that wait go there, and those that waited
/// for it at once.
///
/// # Errors
/// What the database says.
pub fn readdress(conn: &mut Conn, app: AppId, of: (ActivityId, DeviceId), to: (&str, i64)) -> Result<()> {
    store::readdress(conn, app, of, to)
}

/// A newer update is here: those that wait end as `cancelled`, as `unknown` where they may have arrived, and one that is on its
/// way is not tried again. Starts stay.
///
/// # Errors
/// What the database says.
pub fn supersede(conn: &mut Conn, app: AppId, activity: ActivityId, now_ms: i64) -> Result<()> {
    store::stop_activity(conn, app, activity, ("superseded", true, now_ms))
}

/// The activity is to end: as [`supersede`], and starts that wait end too.
///
/// # Errors
/// What the database says.
pub fn stop(conn: &mut Conn, app: AppId, activity: ActivityId, now_ms: i64) -> Result<()> {
    store::stop_activity(conn, app, activity, ("activity_ended", false, now_ms))
}

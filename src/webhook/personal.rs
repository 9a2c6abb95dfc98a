//! What this room holds about a person: deliveries that name them.

use super::{fill, store};
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::platform::MasterKey;
use crate::platform::personal::{OF_USER, Room, Table, hand_over, plain, time};
use crate::store::Conn;

/// See `platform::personal`.
pub const ROOM: Room = Room {
    tables: &[Table {
        name: "webhook_deliveries",
        shown_in: None,
        section: "told_to_servers",
        key: "id",
        whose: OF_USER,
        shows: &[plain("event_type"), plain("webhook_id"), plain("state"), time("created_ms"), time("ended_ms")],
        finish: None,
    }],
    erase: None,
    turn_over: None,
    absorb: Some(|conn, merge, budget| hand_over(conn, ("webhook_deliveries", "id"), merge, budget)),
};

/// Forgets what is told about a user, sent or not. What tells a partner to stop stays: it names the user by the partner's
/// own name for them, and is cut off from the user here.
///
/// # Errors
/// What the database says.
pub fn erase(conn: &mut Conn, key: &MasterKey, (app, user): (AppId, UserId)) -> Result<()> {
    for (id, partner, body) in store::of_partners(conn, app, user)? {
        store::cut_off(conn, app, (id, &fill(key, app, (partner, user), &body)))?;
    }
    store::erase(conn, app, user)
}

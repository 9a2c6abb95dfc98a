//! What this room holds about a person: deliveries that name them.

use super::{fill, store};
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::platform::MasterKey;
use crate::store::Conn;

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

//! Tokens that their gateways call dead: deleted at once, and told to the app.

use super::{activity, store};
use crate::clock::Time;
use crate::error::Result;
use crate::id::{AppId, DeviceId, UserId};
use crate::planted::{Bug, planted};
use crate::platform::epoch;
use crate::store::Conn;
use crate::webhook::{self, Event};
use serde_json::json;

/// The event by which the app hears of it.
const KIND: &str = "device.token_dead";

/// A gateway's word that a token is dead.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// The token that was sent to.
    pub token: &'a str,
    /// Since when it is dead: the gateway's own time stamp, else when the request began.
    pub at_ms: i64,
}

/// A device whose token was deleted, because its gateway has called it dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "give it to `bury`"]
pub struct Dead {
    device: DeviceId,
    user: Option<UserId>,
    at_ms: i64,
}

/// Deletes a token that its gateway called dead, when it is still the same one and was registered no later than what
/// the verdict speaks of (I7). Give the answer to [`bury`] in the same transaction.
///
/// # Errors
/// What the database says.
pub fn kill_token(conn: &mut Conn, app: AppId, device: DeviceId, verdict: Verdict<'_>) -> Result<Option<Dead>> {
    let at_ms = verdict.at_ms;
    let verdict = if planted(Bug::BlindTokenKill) { Verdict { at_ms: i64::MAX, ..verdict } } else { verdict };
    let Some(user) = store::kill_token(conn, app, device, verdict)? else { return Ok(None) };
    activity::forget(conn, app, &[device])?;
    Ok(Some(Dead { device, user, at_ms }))
}

/// Lets nothing that is planned go to these any more, and tells the app; where nobody listens that is one look.
///
/// # Errors
/// What the database says.
pub fn bury(conn: &mut Conn, app: AppId, (dead, now_ms): (&[Dead], i64)) -> Result<()> {
    let users: Vec<UserId> = dead.iter().filter_map(|dead| dead.user).collect();
    epoch::bump_users(conn, app, &users)?;
    if users.is_empty() || !webhook::is_heard(conn, app, KIND)? {
        return Ok(());
    }
    webhook::emit_all(conn, app, &dead.iter().filter_map(|dead| dead.news(now_ms)).collect::<Vec<_>>())
}

impl Dead {
    /// What the app is told. It happens now: the token may have died weeks ago, and what bore that date would be forgotten
    /// before anybody had asked for it.
    fn news(&self, now_ms: i64) -> Option<Event> {
        let Self { device, user, at_ms } = self;
        let data = json!({ "device": device, "since": Time(*at_ms) });
        Some(Event::of_user(KIND, ((*user)?, now_ms), format!("{device}:{at_ms}"), data))
    }
}

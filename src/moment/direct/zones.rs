//! A time of each user's own clock: one walk for each zone, and a scout that finds zones which appear later.

use super::store::{self, RunRow};
use crate::app;
use crate::campaign::LocalTime;
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::error::Result;
use crate::id::{AppId, PushId};
use crate::people::profile;
use crate::store::Conn;

/// The zone of a walk at an instant, which takes everybody.
pub(super) const EVERYBODY: &str = "*";
/// The zone of the walk that looks for new zones.
pub(super) const SCOUT: &str = "?";
/// How often new zones are looked for.
const SCOUT_EVERY_MS: i64 = 15 * MINUTE_MS;
/// UTC+14, where a day begins first.
pub(super) const EAST_MS: i64 = 14 * HOUR_MS;
/// UTC−12, where it begins last.
pub(super) const WEST_MS: i64 = 12 * HOUR_MS;

/// When a clock in a zone shows it; '' and a name that is no zone (any more) mean the app's own.
pub(super) fn due_ms(local: LocalTime, zone: &str, own: &str) -> Result<i64> {
    let zone = if zone.is_empty() { own } else { zone };
    local.due_ms(zone).or_else(|_| local.due_ms(own))
}

/// The walks of a push at a local time: one for each zone in which users live now, and the scout.
///
/// # Errors
/// What the database says.
pub(super) fn runs(conn: &mut Conn, (app, push): (AppId, PushId), local: LocalTime) -> Result<Vec<RunRow>> {
    let mut rows = of_zones(conn, (app, push), local)?;
    rows.push(RunRow::new((app, push), SCOUT, local.due_ms("UTC")? - EAST_MS - SCOUT_EVERY_MS));
    Ok(rows)
}

/// One walk for each zone in which users live now.
fn of_zones(conn: &mut Conn, (app, push): (AppId, PushId), local: LocalTime) -> Result<Vec<RunRow>> {
    let own = app::settings(conn, app)?.time_zone;
    let zones = profile::zones(conn, app)?;
    zones.iter().map(|zone| Ok(RunRow::new((app, push), zone, due_ms(local, zone, &own)?))).collect()
}

/// The scout's turn: new zones get their walks; when the last zone on earth has had its time and each is walked through,
/// one walk of everybody finds those who have moved past it. Never beside one of a zone: both would come to the same users.
///
/// # Errors
/// What the database says.
pub(super) fn scout(conn: &mut Conn, run: &RunRow, (local, now_ms): (LocalTime, i64)) -> Result<()> {
    let of = (run.app_id, run.push_id);
    let found = of_zones(conn, of, local)?;
    store::insert_runs(conn, &found)?;
    if now_ms <= local.due_ms("UTC")? + WEST_MS {
        return store::postpone(conn, run, now_ms + SCOUT_EVERY_MS);
    }
    if store::walks_zones(conn, run.app_id, run.push_id)? {
        return store::postpone(conn, run, now_ms + MINUTE_MS);
    }
    store::insert_runs(conn, &[RunRow::new(of, EVERYBODY, now_ms)])?;
    store::end_run(conn, run).map(drop)
}

//! The runs of scheduled campaigns: one for an instant, one per zone for a wall-clock time, each with a durable cursor.
//!
//! Zones that appear later are found by a scout: a run of its own that looks for new zones from the hour in which the
//! first zone on earth shows the time until the last one has.

use super::store::campaigns;
use super::store::runs::{self, RunRow};
use super::{Campaign, LocalTime, Schedule, Start, When};
use crate::app;
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, UserId};
use crate::people::profile;
use crate::store::Conn;

/// The zone of a run at an instant, which takes everybody.
pub const EVERYBODY: &str = "*";
/// The zone of the run that looks for new zones.
const SCOUT: &str = "?";
/// How often new zones are looked for.
const SCOUT_EVERY_MS: i64 = 15 * MINUTE_MS;
/// UTC+14, where a day begins first, and UTC−12, where it begins last.
const EAST_MS: i64 = 14 * HOUR_MS;
const WEST_MS: i64 = 12 * HOUR_MS;

/// A walk of a scheduled campaign through its audience.
#[derive(Debug, Clone)]
pub struct Run {
    /// The tenant.
    pub app_id: AppId,
    /// The campaign.
    pub campaign_id: CampaignId,
    /// Whose turn it is: [`EVERYBODY`], or the users whose `zone` is this one; '' is for those without one.
    pub zone: String,
    /// When it was due: the opening of its targets' stretch of time.
    pub due_ms: i64,
    /// The last user who was visited.
    pub cursor: Option<UserId>,
    /// How many users were visited.
    pub visited: i64,
}

impl Run {
    /// The next users of this walk, in the order of their ids.
    ///
    /// # Errors
    /// What the database says.
    pub fn next(&self, conn: &mut Conn, limit: i64) -> Result<Vec<UserId>> {
        let zone = (self.zone != EVERYBODY).then_some(self.zone.as_str());
        profile::walk(conn, self.app_id, zone, (self.cursor, limit))
    }
}

/// Runs of live campaigns that are due, the earliest first. Also finds zones that have appeared, so call it in a
/// transaction that may write.
///
/// # Errors
/// What the database says.
pub fn runs_due(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<Run>> {
    let mut found = Vec::new();
    for row in runs::due(conn, now_ms, limit)? {
        if row.zone == SCOUT {
            scout(conn, row, now_ms)?;
        } else {
            found.push(row);
        }
    }
    let run = |row: RunRow| Run {
        app_id: row.app_id,
        campaign_id: row.campaign_id,
        zone: row.zone,
        due_ms: row.due_ms,
        cursor: row.cursor_user_id,
        visited: row.visited,
    };
    Ok(found.into_iter().map(run).collect())
}

/// When the next run is due, if any is.
///
/// # Errors
/// What the database says.
pub fn next_run_ms(conn: &mut Conn) -> Result<Option<i64>> {
    runs::next_due_ms(conn)
}

/// Moves a run's cursor over the users just visited; part of the transaction that stores their decisions. Without users
/// the run is done.
///
/// # Errors
/// What the database says.
pub fn run_advance(conn: &mut Conn, run: &Run, visited: &[UserId]) -> Result<()> {
    let row = RunRow {
        cursor_user_id: visited.last().copied().or(run.cursor),
        visited: run.visited.saturating_add(i64::try_from(visited.len()).unwrap_or(i64::MAX)),
        ..RunRow::new(run.app_id, run.campaign_id, (run.zone.clone(), run.due_ms))
    };
    runs::advance(conn, &row, visited.is_empty())
}

/// Makes the runs of a campaign that is being published.
///
/// # Errors
/// 409 `in_the_past` when there is nobody left to reach; what the database says.
pub(super) fn open(conn: &mut Conn, app: AppId, (id, spec): (CampaignId, &Campaign), now_ms: i64) -> Result<()> {
    let Start::Schedule(Schedule { when, window_ms }) = &spec.trigger else { return Ok(()) };
    let rows = match when {
        When::At(at) => {
            in_time(at.0, *window_ms, now_ms)?;
            vec![RunRow::new(app, id, (EVERYBODY.to_owned(), at.0))]
        }
        When::Local(local) => {
            let utc_ms = local.due_ms("UTC")?;
            in_time(utc_ms + WEST_MS, *window_ms, now_ms)?;
            let mut rows = zone_runs(conn, (app, id), *local)?;
            rows.push(RunRow::new(app, id, (SCOUT.to_owned(), utc_ms - EAST_MS - SCOUT_EVERY_MS)));
            rows
        }
    };
    runs::insert(conn, &rows)
}

fn in_time(due_ms: i64, window_ms: i64, now_ms: i64) -> Result<()> {
    if due_ms.saturating_add(window_ms) > now_ms {
        return Ok(());
    }
    Err(Error::conflict("in_the_past", "The campaign's time and its window are over; set another time."))
}

/// One run per zone in which users live now. Zones are told apart by name: two names may mean the same time.
fn zone_runs(conn: &mut Conn, (app, id): (AppId, CampaignId), local: LocalTime) -> Result<Vec<RunRow>> {
    let known = runs::zones(conn, app, id)?;
    let zones: Vec<String> = profile::zones(conn, app)?.into_iter().filter(|zone| !known.contains(zone)).collect();
    let own = app::settings(conn, app)?.time_zone;
    let due_ms = |zone: &str| local.due_ms(if zone.is_empty() { &own } else { zone });
    // A name that is no zone (any more) means the app's.
    zones
        .into_iter()
        .map(|zone| Ok(RunRow::new(app, id, (zone.clone(), due_ms(&zone).or_else(|_| local.due_ms(&own))?))))
        .collect()
}

fn scout(conn: &mut Conn, mut row: RunRow, now_ms: i64) -> Result<()> {
    let campaign = campaigns::get(conn, row.app_id, row.campaign_id)?;
    let Start::Schedule(Schedule { when: When::Local(local), .. }) = &campaign.spec.0.trigger else {
        return runs::advance(conn, &row, true);
    };
    let found = zone_runs(conn, (row.app_id, row.campaign_id), *local)?;
    runs::insert(conn, &found)?;
    let over = now_ms > local.due_ms("UTC")? + WEST_MS;
    row.due_ms = now_ms + SCOUT_EVERY_MS;
    runs::advance(conn, &row, over)
}

//! The column of users that follows from their devices: `zone`, what local times of theirs mean.

use super::CHUNK;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::device::Registration;
use crate::store::Conn;
use crate::store::schema::{devices, users};
use diesel::prelude::*;
use std::collections::BTreeMap;

pub(in crate::people::device) fn settle_zone(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    let chosen: Option<Option<String>> = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(users::id.eq(user)))
        .select(users::time_zone)
        .first(c)
        .optional())?;
    let zone = match chosen.flatten() {
        Some(zone) => zone,
        None => latest_zone(conn, app, user)?.unwrap_or_default(),
    };
    on!(conn, c => diesel::update(users::table.filter(users::app_id.eq(app).and(users::id.eq(user)).and(users::zone.ne(&zone))))
        .set(users::zone.eq(&zone))
        .execute(c))?;
    Ok(())
}

fn latest_zone(conn: &mut Conn, app: AppId, user: UserId) -> Result<Option<String>> {
    let zone: Option<Option<String>> = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)).and(devices::time_zone.is_not_null()))
        .order((devices::last_seen_ms.desc(), devices::id.desc()))
        .select(devices::time_zone)
        .first(c)
        .optional())?;
    Ok(zone.flatten())
}

/// The zones of users whose first devices these are; for one user the last device in the list counts.
pub(in crate::people::device) fn settle_zones(conn: &mut Conn, app: AppId, registrations: &[Registration]) -> Result<()> {
    let of_user: BTreeMap<UserId, &str> =
        registrations.iter().filter_map(|r| Some((r.user, r.traits.time_zone.as_deref()?))).collect();
    let mut of_zone: BTreeMap<&str, Vec<UserId>> = BTreeMap::new();
    for (user, zone) in of_user {
        of_zone.entry(zone).or_default().push(user);
    }
    for (zone, all) in of_zone {
        for chunk in all.chunks(CHUNK) {
            on!(conn, c => diesel::update(users::table
                    .filter(users::app_id.eq(app).and(users::id.eq_any(chunk)).and(users::time_zone.is_null())))
                .set(users::zone.eq(zone))
                .execute(c))?;
        }
    }
    Ok(())
}

//! What the log holds of a user: events, those that named them before they were known, links to things, work of the lanes.

use super::store;
use crate::error::Result;
use crate::id::{AppId, EventId, WorkId};
use crate::on;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, flag, hand_over, plain, time};
use crate::store::Conn;
use crate::store::schema::{events, lane_work};
use diesel::prelude::*;
use diesel::sql_types::Text;

/// An id is made within this time after what it names came, in milliseconds.
const NAMED_WITHIN_MS: i64 = 60_000;

const EVENT: &[crate::platform::personal::Column] = &[
    plain("id"),
    plain("source"),
    plain("external_id"),
    plain("type"),
    time("occurred_ms"),
    time("received_ms"),
    plain("subject"),
    plain("device_id"),
    plain("thing_id"),
    plain("partner_id"),
    plain("place_id"),
    plain("cause_id"),
    document("properties"),
    plain("lat"),
    plain("lon"),
    plain("accuracy_m"),
    flag("test"),
    plain("disposition"),
    document("decision_ids"),
    time("settled_ms"),
];

/// See `platform::personal`. The lanes come last: their table has no index by user, and is short.
pub const ROOM: Room = Room {
    tables: &[
        Table { name: "events", shown_in: None, section: "events", key: "id", whose: OF_USER, shows: EVENT, finish: None },
        Table {
            name: "events",
            shown_in: None,
            section: "events_before_you_were_known",
            key: "id",
            whose: "user_id is null and thing_id is null and subject in (select $2 \
                union all select id from devices where app_id = $1 and user_id = $2 \
                union all select 'user:' || external_id from users where app_id = $1 and id = $2 and external_id is not null)",
            shows: EVENT,
            finish: None,
        },
        Table {
            name: "links",
            shown_in: None,
            section: "links",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("thing_id"),
                plain("kind"),
                plain("partner_id"),
                time("starts_ms"),
                time("ends_ms"),
                time("created_ms"),
            ],
            finish: None,
        },
        Table {
            name: "lane_work",
            shown_in: None,
            section: "events_being_judged",
            key: "id",
            whose: OF_USER,
            shows: &[plain("event_id"), plain("link_partner_id")],
            finish: None,
        },
    ],
    erase: None,
    turn_over: Some(turn_over),
    absorb: Some(|conn, merge, budget| hand_over(conn, ("events", "id"), merge, budget)),
};

/// Links and what the lanes have to judge go to the account; where both are linked to a thing in one way, the account's
/// link stays.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let &Merge { app, from, into, .. } = merge;
    let twice = "delete from links where app_id = $1 and user_id = $2 and exists (select 1 from links own \
        where own.app_id = links.app_id and own.thing_id = links.thing_id and own.kind = links.kind and own.user_id = $3)";
    on!(conn, c => diesel::sql_query(twice).bind::<Text, _>(app).bind::<Text, _>(from).bind::<Text, _>(into).execute(c))?;
    let moved = "update links set user_id = $1 where app_id = $2 and user_id = $3";
    on!(conn, c => diesel::sql_query(moved).bind::<Text, _>(into).bind::<Text, _>(app).bind::<Text, _>(from).execute(c))?;
    let work = lane_work::table.filter(lane_work::app_id.eq(app).and(lane_work::user_id.eq(from)));
    on!(conn, c => diesel::update(work)
        .set((lane_work::user_id.eq(into), lane_work::lane.eq(super::lane(app, into))))
        .execute(c))?;
    Ok(())
}

/// Forgets events that came before a time, the oldest first, with what is left of their work; answers how many there were.
///
/// # Errors
/// What the database says.
pub fn expire(conn: &mut Conn, app: AppId, (before_ms, limit): (i64, i64)) -> Result<usize> {
    // Along the ids, which begin with the time: there is no index by it.
    let ids: Vec<EventId> = on!(conn, c => events::table
        .filter(events::app_id.eq(app).and(events::id.lt(EventId::floor(before_ms + NAMED_WITHIN_MS))))
        .filter(events::received_ms.lt(before_ms))
        .order(events::id)
        .limit(limit)
        .select(events::id)
        .load(c))?;
    if ids.is_empty() {
        return Ok(0);
    }
    let work: Vec<WorkId> = on!(conn, c => lane_work::table
        .filter(lane_work::id.lt(WorkId::floor(before_ms + NAMED_WITHIN_MS)).and(lane_work::app_id.eq(app)))
        .filter(lane_work::event_id.eq_any(&ids))
        .select(lane_work::id)
        .load(c))?;
    store::done(conn, &work)?;
    for chunk in ids.chunks(500) {
        on!(conn, c => diesel::delete(events::table.filter(events::app_id.eq(app).and(events::id.eq_any(chunk)))).execute(c))?;
    }
    Ok(ids.len())
}

/// Forgets raw fixes of people that came before a time, the oldest first; what followed from them stays. Answers how many
/// events lost theirs.
///
/// # Errors
/// What the database says.
pub fn expire_fixes(conn: &mut Conn, app: AppId, (before_ms, limit): (i64, i64)) -> Result<usize> {
    let due: i64 = on!(conn, c => events::table
        .filter(events::app_id.eq(app).and(events::lat.is_not_null()).and(events::user_id.is_not_null()))
        .filter(events::received_ms.lt(before_ms))
        .limit(1)
        .count()
        .get_result(c))?;
    if due == 0 {
        return Ok(0);
    }
    store::lock(conn, app)?;
    crate::place::forget_fixes(conn, app, before_ms)?;
    store::forget_fixes(conn, app, (before_ms, limit))
}

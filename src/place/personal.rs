//! What the map holds of a user: the newest fix of each of their installations, and where they stand with places.

use crate::error::Result;
use crate::on;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, plain, time};
use crate::store::Conn;
use crate::store::schema::{place_states, positions};
use diesel::prelude::*;

/// See `platform::personal`.
pub const ROOM: Room = Room {
    tables: &[
        Table {
            name: "positions",
            shown_in: None,
            section: "positions",
            key: "subject_id",
            whose: OF_USER,
            shows: &[plain("subject_id"), time("at_ms"), plain("lat"), plain("lon"), plain("accuracy_m"), document("sights")],
            finish: None,
        },
        Table {
            name: "place_states",
            shown_in: None,
            section: "places",
            key: "(subject_id || ' ' || place_id)",
            whose: OF_USER,
            shows: &[plain("subject_id"), plain("place_id"), plain("partner_id"), document("state"), time("due_ms")],
            finish: None,
        },
    ],
    erase: None,
    turn_over: Some(turn_over),
    absorb: None,
};

/// Where the anonymous user stands the account stands; where it has a position of its own, that one counts.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let &Merge { app, from, into, .. } = merge;
    for prefix in ["", "test:"] {
        let (old, new) = (format!("{prefix}{from}"), format!("{prefix}{into}"));
        let known: i64 = on!(conn, c => positions::table.find((app, &new)).count().get_result(c))?;
        if known > 0 {
            super::forget(conn, app, std::slice::from_ref(&old))?;
            continue;
        }
        on!(conn, c => diesel::update(positions::table.find((app, &old))).set(positions::subject_id.eq(&new)).execute(c))?;
        let stands = place_states::table.filter(place_states::app_id.eq(app).and(place_states::subject_id.eq(&old)));
        on!(conn, c => diesel::update(stands).set(place_states::subject_id.eq(&new)).execute(c))?;
    }
    let of_user = positions::table.filter(positions::app_id.eq(app).and(positions::user_id.eq(from)));
    on!(conn, c => diesel::update(of_user).set(positions::user_id.eq(into)).execute(c))?;
    let of_user = place_states::table.filter(place_states::app_id.eq(app).and(place_states::user_id.eq(from)));
    on!(conn, c => diesel::update(of_user).set(place_states::user_id.eq(into)).execute(c))?;
    Ok(())
}

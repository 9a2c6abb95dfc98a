//! Under which anonymous ids a user was known before.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::platform::personal::{Room, Table, plain, time};
use crate::store::Conn;
use crate::store::schema::merges;
use diesel::prelude::*;

/// See `platform::personal`.
pub const ROOM: Room = Room {
    tables: &[Table {
        name: "merges",
        shown_in: None,
        section: "known_before_as",
        key: "from_id",
        whose: "into_id = $2 and ended_ms is not null",
        shows: &[plain("from_id"), time("began_ms"), time("ended_ms")],
        finish: None,
    }],
    // What is still on its way to a user has to arrive before it can be forgotten.
    erase: Some(|conn, (app, user), budget| {
        let open = merges::table.filter(merges::app_id.eq(app).and(merges::into_id.eq(user)).and(merges::ended_ms.is_null()));
        let n: i64 = on!(conn, c => open.count().get_result(c))?;
        if n > 0 {
            budget.wait();
        }
        Ok(())
    }),
    turn_over: None,
    absorb: None,
};

/// The anonymous ids that mean a user.
///
/// # Errors
/// What the database says.
pub fn names(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<UserId>> {
    Ok(on!(conn, c => merges::table
        .filter(merges::app_id.eq(app).and(merges::into_id.eq(user)))
        .order(merges::from_id)
        .select(merges::from_id)
        .load(c))?)
}

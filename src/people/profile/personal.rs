//! What the room of profiles holds of a user: who they are to the app, and what they wish to hear.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::device;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, flag, plain, time};
use crate::store::schema::{preferences, users};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde_json::{Map, Value};

/// See `platform::personal`. The row of the user is the last but those that can only go after it.
pub const ROOM: Room = Room {
    tables: &[
        Table {
            name: "preferences",
            shown_in: None,
            section: "preferences",
            key: "user_id",
            whose: OF_USER,
            shows: &[
                document("topics"),
                document("channels"),
                document("quiet_hours"),
                document("frequency"),
                time("pause_until_ms"),
            ],
            finish: None,
        },
        Table {
            name: "users",
            shown_in: None,
            section: "profile",
            key: "id",
            whose: "id = $2",
            shows: &[
                plain("id"),
                plain("external_id"),
                flag("anonymous"),
                document("attributes"),
                plain("locale"),
                plain("time_zone"),
                plain("zone"),
                flag("disabled"),
                document("claims"),
                time("created_ms"),
                time("updated_ms"),
                time("leaving_ms"),
            ],
            finish: None,
        },
    ],
    erase: None,
    turn_over: Some(turn_over),
    absorb: None,
};

type Columns = (Option<String>, Doc<Map<String, Value>>, Option<String>, Option<String>);

/// What the account says stays, what it does not say is taken over: attribute by attribute, and the preferences as a whole.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let &Merge { app, from, into, now_ms } = merge;
    let of = move |user: UserId| users::table.filter(users::app_id.eq(app).and(users::id.eq(user)));
    let columns = (users::external_id, users::attributes, users::locale, users::time_zone);
    let before: Option<Columns> = on!(conn, c => of(into).select(columns).first(c).optional())?;
    let taken: Option<Columns> = on!(conn, c => of(from).select(columns).first(c).optional())?;
    if let Some(((external_id, attributes, locale, time_zone), taken)) = before.zip(taken) {
        let mut merged = taken.1.0;
        merged.extend(attributes.0);
        // An external id belongs to one user at a time.
        on!(conn, c => diesel::update(of(from)).set(users::external_id.eq(None::<String>)).execute(c))?;
        on!(conn, c => diesel::update(of(into))
            .set((
                users::external_id.eq(external_id.or(taken.0)),
                users::attributes.eq(Doc(merged)),
                users::locale.eq(locale.or(taken.2)),
                users::time_zone.eq(time_zone.or(taken.3)),
                users::revision.eq(users::revision + 1),
                users::updated_ms.eq(now_ms),
            ))
            .execute(c))?;
    }
    let wishes = move |user: UserId| preferences::table.filter(preferences::app_id.eq(app).and(preferences::user_id.eq(user)));
    let own: i64 = on!(conn, c => wishes(into).count().get_result(c))?;
    if own == 0 {
        on!(conn, c => diesel::update(wishes(from)).set(preferences::user_id.eq(into)).execute(c))?;
    }
    device::settle_zone(conn, app, into)
}

/// The name by which another system knows a user.
///
/// # Errors
/// What the database says.
pub fn external_id(conn: &mut Conn, app: AppId, user: UserId) -> Result<Option<String>> {
    let row: Option<Option<String>> = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(users::id.eq(user)))
        .select(users::external_id)
        .first(c)
        .optional())?;
    Ok(row.flatten())
}

/// Whether there is such a user, leaving or not.
///
/// # Errors
/// What the database says.
pub fn is_there(conn: &mut Conn, app: AppId, user: UserId) -> Result<bool> {
    let n: i64 = on!(conn, c => users::table.filter(users::app_id.eq(app).and(users::id.eq(user))).count().get_result(c))?;
    Ok(n > 0)
}

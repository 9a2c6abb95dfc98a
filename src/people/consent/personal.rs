//! What the ledger holds of a user, and how an anonymous user's ledger goes over to an account.

use super::store;
use crate::error::Result;
use crate::id::ConsentId;
use crate::on;
use crate::platform::epoch;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, flag, plain, time};
use crate::store::Conn;
use crate::store::schema::consents;
use diesel::prelude::*;

/// See `platform::personal`. The database lets a row of the ledger go only after its user.
pub const ROOM: Room = Room {
    tables: &[
        Table {
            name: "consents",
            shown_in: None,
            section: "consents",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("seq"),
                plain("purpose"),
                plain("channel"),
                plain("partner_id"),
                flag("granted"),
                plain("text_version"),
                document("evidence"),
                plain("source"),
                plain("language"),
                plain("notice_hash"),
                plain("jurisdiction"),
                flag("guardian"),
                time("at_ms"),
                time("expires_ms"),
            ],
            finish: None,
        },
        Table {
            name: "ages",
            shown_in: None,
            section: "age",
            key: "user_id",
            whose: OF_USER,
            shows: &[plain("jurisdiction"), plain("minimum_years"), time("of_age_ms"), time("stated_ms"), plain("source")],
            finish: None,
        },
    ],
    erase: None,
    turn_over: Some(turn_over),
    absorb: None,
};

/// Rows of one page.
const ALL: (i64, i64) = (i64::MIN, i64::MAX);

/// Appends to the account's ledger what of the anonymous user's carries over, under the same ids, so that messages go on
/// naming what allowed them. What does not carry over goes, with its receipt: grants of which the account's own rows decide, and
/// those of somebody who, by the gate as it is now, is not of age or has not said so.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let &Merge { app, from, into, now_ms } = merge;
    // First of all: the epochs' rows keep other writers of these ledgers out.
    epoch::bump_users(conn, app, &[from, into])?;
    let mut ledgers = super::ledgers(conn, app, &[from, into])?;
    let (theirs, own) = (ledgers.remove(&from).unwrap_or_default(), ledgers.remove(&into).unwrap_or_default());
    let purposes = store::purposes(conn, app)?;
    let carried: Vec<ConsentId> = own.carried_over(&theirs, &purposes, now_ms).iter().map(|row| row.id).collect();
    let mut records: Vec<_> = store::history(conn, app, from, ALL)?.into_iter().map(|(_, record)| record).collect();
    records.retain(|record| carried.contains(&record.row.id));
    records.iter_mut().for_each(|record| record.user = into);
    on!(conn, c => diesel::delete(consents::table.filter(consents::app_id.eq(app).and(consents::user_id.eq(from)))).execute(c))?;
    store::append(conn, app, &records)
}

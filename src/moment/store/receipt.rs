//! Receipts, and the messages that they are of.

use crate::error::Result;
use crate::id::{AppId, DeviceId, MessageId, UserId};
use crate::moment::receipt::Known;
use crate::on;
use crate::push::Attempt;
use crate::store::schema::{devices, messages, receipts, users};
use crate::store::{Conn, Doc, among};
use diesel::prelude::*;
use std::collections::HashMap;

/// Takes the lock under which receipts and marks of an app's inboxes are written, and its messages are forgotten. Who takes
/// that of several apps does so in the order of their ids.
pub(in crate::moment) fn lock_receipts(conn: &mut Conn, app: AppId) -> Result<()> {
    conn.serialise(&format!("receipts:{app}"))
}

/// Rows of one statement.
const ROWS_MAX: usize = 500;

/// A receipt as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = receipts, treat_none_as_default_value = false)]
pub(in crate::moment) struct ReceiptRow {
    pub app_id: AppId,
    pub message_id: MessageId,
    pub kind: String,
    pub at_ms: i64,
    pub received_ms: i64,
    pub action: Option<String>,
}

/// Those of these messages that are there, but for those of users who leave, and for recalls: nobody sees one.
pub(in crate::moment) fn receivers(conn: &mut Conn, app: AppId, ids: &[MessageId]) -> Result<HashMap<MessageId, Known>> {
    type Columns = (MessageId, UserId, DeviceId, Option<String>, i64, i64, Option<i64>, Doc<Vec<Attempt>>, Option<i64>);
    let rows: Vec<Columns> = on!(conn, c => messages::table
        .inner_join(users::table.on(users::app_id.eq(messages::app_id).and(users::id.eq(messages::user_id))))
        .left_join(devices::table.on(devices::app_id.eq(messages::app_id).and(devices::id.eq(messages::device_id))))
        .filter(messages::app_id.eq(app).and(among(messages::id, ids)).and(messages::recalls.eq("")))
        .filter(users::leaving_ms.is_null())
        .select((
            messages::id,
            messages::user_id,
            messages::device_id,
            devices::installation_id.nullable(),
            messages::created_ms,
            messages::attempt,
            messages::sending_ms,
            messages::attempts,
            messages::inbox_until_ms,
        ))
        .load(c))?;
    let known = |(id, user_id, device_id, installation_id, created_ms, attempt, sending_ms, attempts, until_ms): Columns| {
        // Of several attempts an earlier one may have been the one that arrived.
        let first_ms = attempts.0.first().filter(|_| attempt > 1).map(|a| a.started_ms);
        let left_ms = first_ms.into_iter().chain(sending_ms).min();
        let in_inbox = until_ms.is_some();
        (id, Known { user_id, device_id, installation_id, created_ms, left_ms, in_inbox })
    };
    Ok(rows.into_iter().map(known).collect())
}

/// The receipts of these messages, the earliest first.
pub(in crate::moment) fn receipts(conn: &mut Conn, app: AppId, ids: &[MessageId]) -> Result<Vec<ReceiptRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on!(conn, c => receipts::table
        .filter(receipts::app_id.eq(app).and(among(receipts::message_id, ids)))
        .order((receipts::at_ms, receipts::kind))
        .select(ReceiptRow::as_select())
        .load(c))?)
}

/// Writes receipts; of one kind and message the first stays.
pub(in crate::moment) fn insert_receipts(conn: &mut Conn, rows: &[ReceiptRow]) -> Result<()> {
    for chunk in rows.chunks(ROWS_MAX) {
        on!(conn, c => diesel::insert_into(receipts::table).values(chunk).on_conflict_do_nothing().execute(c))?;
    }
    Ok(())
}

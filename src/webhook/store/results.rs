//! Endpoints that hear what came of messages, and to whom those were.

use super::Endpoint;
use crate::error::Result;
use crate::id::{AppId, DeviceId, MessageId, UserId};
use crate::on;
use crate::store::schema::{messages, webhooks};
use crate::store::{Conn, among};
use diesel::prelude::*;
use std::collections::HashMap;

/// The app's own endpoints that hear of results.
pub(in crate::webhook) fn hearing(conn: &mut Conn, app: AppId) -> Result<Vec<Endpoint>> {
    Ok(on!(conn, c => webhooks::table
        .filter(webhooks::app_id.eq(app).and(webhooks::partner_id.eq("")).and(webhooks::results.eq(true)))
        .order(webhooks::id)
        .select(Endpoint::as_select())
        .load(c))?)
}

/// To whom these messages went.
pub(in crate::webhook) fn addressees(
    conn: &mut Conn,
    app: AppId,
    ids: &[MessageId],
) -> Result<HashMap<MessageId, (UserId, DeviceId)>> {
    let rows: Vec<(MessageId, UserId, DeviceId)> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::id, ids)))
        .select((messages::id, messages::user_id, messages::device_id))
        .load(c))?;
    Ok(rows.into_iter().map(|(id, user, device)| (id, (user, device))).collect())
}

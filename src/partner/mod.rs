//! Partners: other businesses in the network, known by name and by their keys. They see no profiles.

pub mod http;
mod store;
pub mod webhooks;

use crate::error::Result;
use crate::id::{AppId, PartnerId};
use crate::store::Conn;

/// Whether the app has this partner.
///
/// # Errors
/// What the database says.
pub fn exists(conn: &mut Conn, app: AppId, id: PartnerId) -> Result<bool> {
    Ok(store::find(conn, app, id)?.is_some())
}

/// Adds a partner to the app.
///
/// # Errors
/// What the database says.
pub fn create(conn: &mut Conn, app: AppId, (id, name): (PartnerId, &str), now_ms: i64) -> Result<()> {
    store::insert(conn, &store::PartnerRow { app_id: app, id, name: name.to_owned(), created_ms: now_ms })
}

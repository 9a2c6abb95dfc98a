//! Making a tenant: the app and its first two keys.

use super::key::{KeyKind, Mint, Mode};
use super::scope::Scope;
use super::settings::Settings;
use super::store;
use crate::audit::{self, Actor, Entry};
use crate::config::Secret;
use crate::error::Result;
use crate::id::{AppId, Ids};
use crate::store::Conn;

/// A new tenant; its keys are shown once.
#[derive(Debug, Clone)]
pub struct Created {
    /// The tenant.
    pub app_id: AppId,
    /// For the app on the phone.
    pub publishable_key: Secret,
    /// For the app's own servers; holds every scope.
    pub server_key: Secret,
}

/// Makes an app with default settings, a live publishable key and a live server key with every scope.
///
/// # Errors
/// 400 when the name is empty or too long; what the database says.
pub fn create(conn: &mut Conn, ids: &Ids, now_ms: i64, name: &str) -> Result<Created> {
    crate::http::check_text("name", name, super::key::NAME_MAX)?;
    let app_id: AppId = ids.next();
    store::insert_app(conn, app_id, name, &Settings::default(), now_ms)?;
    let mut mint = |kind, scopes| {
        let wanted =
            Mint { app_id, kind, mode: Mode::Live, name: "first".to_owned(), partner_id: None, scopes, expires_ms: None };
        store::mint(conn, ids, now_ms, wanted).map(|new| new.secret)
    };
    let publishable_key = mint(KeyKind::Publishable, super::Scopes::new())?;
    let server_key = mint(KeyKind::Server, Scope::ALL.iter().copied().collect())?;
    audit::append(conn, Some(app_id), Entry::new(now_ms, Actor::Command, "command app create").on(app_id))?;
    Ok(Created { app_id, publishable_key, server_key })
}

//! What the app's own back end sees of accounts, and how it finds them.

use super::store::{self, Search};
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, UserId};
use crate::people::profile::Person;
use crate::store::Conn;
use std::collections::HashMap;

/// An account, beside its profile.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Its address, and whether that is proven.
    pub address: Option<(String, bool)>,
    /// Whether its user may not come in.
    pub disabled: bool,
    /// What its tokens say beside what they always say.
    pub claims: Option<FreeJson>,
}

/// The accounts of these users; those that are not there are absent.
///
/// # Errors
/// What the database says.
pub fn accounts_of(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Account>> {
    let mut addresses = store::emails_of(conn, app, users)?;
    let rows = store::standings(conn, app, users)?.into_iter();
    let account = |(id, disabled, claims): (UserId, bool, Option<crate::store::Doc<FreeJson>>)| {
        (id, Account { address: addresses.remove(&id), disabled, claims: claims.map(|doc| doc.0) })
    };
    Ok(rows.map(account).collect())
}

/// A user's address, and whether it is proven.
///
/// # Errors
/// What the database says.
pub fn address_of(conn: &mut Conn, app: AppId, user: UserId) -> Result<Option<(String, bool)>> {
    Ok(store::email_of(conn, app, user)?.map(|(email, verified_ms)| (email, verified_ms.is_some())))
}

/// A user with their address, but for what they wish to hear.
///
/// # Errors
/// 404.
pub fn person_of(conn: &mut Conn, app: AppId, user: UserId) -> Result<(Person, Option<(String, bool)>)> {
    store::person_of(conn, app, user)?.ok_or_else(|| Error::not_found("user"))
}

/// The users who fit, at most `page.1` after `page.0`, in the order of their ids.
///
/// # Errors
/// What the database says.
pub fn search(conn: &mut Conn, app: AppId, search: &Search, page: (&str, i64)) -> Result<Vec<UserId>> {
    store::search(conn, app, search, page)
}

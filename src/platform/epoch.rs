//! Epochs: numbers by which one room tells another that what it knew has changed.
//!
//! Consents, purposes and devices bump them; push's claim compares them in the transaction that moves a message to `sending`,
//! and asks the other rooms only about those whose epoch has moved.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::{Conn, among, schema::epochs};
use diesel::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What an epoch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A user's consents (grants and withdrawals), and the devices and tokens by which they are reached.
    Consent(UserId),
    /// What counts in the whole app: a new text version that has to be asked again, another age gate.
    AppConsent,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Consent(_) => "consent",
            Self::AppConsent => "app_consent",
        }
    }

    fn key(self) -> String {
        match self {
            Self::Consent(user) => user.to_string(),
            Self::AppConsent => String::new(),
        }
    }
}

/// Moves an epoch on; part of the transaction that made the change.
///
/// # Errors
/// What the database says.
pub fn bump(conn: &mut Conn, app: AppId, scope: Scope) -> Result<()> {
    on!(conn, c => diesel::insert_into(epochs::table)
        .values((epochs::app_id.eq(app), epochs::scope.eq(scope.name()), epochs::key.eq(scope.key()), epochs::value.eq(1_i64)))
        .on_conflict((epochs::app_id, epochs::scope, epochs::key))
        .do_update()
        .set(epochs::value.eq(epochs::value + 1))
        .execute(c))?;
    Ok(())
}

/// Moves the consent epochs of many users on, as [`bump`] does for one.
///
/// # Errors
/// What the database says.
pub fn bump_users(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<()> {
    // In one order everywhere, so that two such transactions cannot lock each other out.
    let keys: BTreeSet<String> = users.iter().map(UserId::to_string).collect();
    let keys: Vec<String> = keys.into_iter().collect();
    for chunk in keys.chunks(500) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|key| (epochs::app_id.eq(app), epochs::scope.eq("consent"), epochs::key.eq(key), epochs::value.eq(1_i64)))
            .collect();
        on!(conn, c => diesel::insert_into(epochs::table)
            .values(&rows)
            .on_conflict((epochs::app_id, epochs::scope, epochs::key))
            .do_update()
            .set(epochs::value.eq(epochs::value + 1))
            .execute(c))?;
    }
    Ok(())
}

/// The epochs of one app, for the scopes asked; those never bumped are 0.
///
/// # Errors
/// What the database says.
pub fn read(conn: &mut Conn, app: AppId, scopes: &[Scope]) -> Result<HashMap<Scope, i64>> {
    // Scope by scope: the key alone does not lead into the index.
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for scope in scopes {
        by_name.entry(scope.name()).or_default().push(scope.key());
    }
    let mut bumped: HashMap<(&str, String), i64> = HashMap::new();
    for (name, keys) in by_name {
        let rows: Vec<(String, i64)> = on!(conn, c => epochs::table
            .filter(epochs::app_id.eq(app).and(epochs::scope.eq(name)).and(among(epochs::key, keys)))
            .select((epochs::key, epochs::value))
            .load(c))?;
        bumped.extend(rows.into_iter().map(|(key, value)| ((name, key), value)));
    }
    Ok(scopes.iter().map(|scope| (*scope, bumped.get(&(scope.name(), scope.key())).copied().unwrap_or(0))).collect())
}

/// Forgets the epoch of a user who is gone; answers how many rows there were.
///
/// # Errors
/// What the database says.
pub fn forget(conn: &mut Conn, app: AppId, user: UserId) -> Result<usize> {
    let scope = Scope::Consent(user);
    let target =
        epochs::table.filter(epochs::app_id.eq(app).and(epochs::scope.eq(scope.name())).and(epochs::key.eq(scope.key())));
    Ok(on!(conn, c => diesel::delete(target).execute(c))?)
}

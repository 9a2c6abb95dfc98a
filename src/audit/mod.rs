//! The audit log: who changed what, with which call. Append-only, and each row is hashed with the one before it.
//!
//! A request that an operator or a server key makes carries a [`Draft`]; the first transaction of it that commits has
//! the row in it, so the row exists if and only if the effect does. What was refused is not in the log: metrics count it.
//! Every app has a chain of its own; the installation has one for what belongs to no app. Rows hold ids and names of
//! fields, never values, so that a user can be erased without a gap in the chain.

mod chain;
mod draft;
mod store;

pub use chain::{Row, Walk, hash};
pub use draft::{Act, Draft, act, body, made, note, watched};
pub use store::{Filter, append, chains, page, rows_after};

use crate::error::Result;
use crate::id::{AppId, KeyId, OperatorId};
use crate::store::Store;
use std::collections::BTreeMap;

/// Calls that leave no row each: the log of events is a record of its own, and a row per event would say nothing more; a
/// webhook or a credential that is tried changes nothing here. Everything else that a server key or an operator changes has
/// its row.
pub const DATA_PLANE: [(&str, &str); 4] = [
    ("POST", "/v1/events"),
    ("POST", "/v1/webhooks/{id}/test"),
    ("POST", "/v1/partners/{id}/webhooks/{webhook}/test"),
    ("POST", "/v1/push-credentials/{gateway}/test"),
];

/// How many rows are checked at a time.
const ROWS_AT_A_TIME: i64 = 1_000;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// An app's own servers, with this key.
    Key(KeyId),
    /// A person who runs the app.
    Operator(OperatorId),
    /// A command on the machine itself.
    Command,
    /// Somebody who failed to say who they are.
    Nobody,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Operator(id) => id.fmt(f),
            Self::Command => f.write_str("command"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// What is to be appended: a row without its place in a chain.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, in UTC milliseconds.
    pub at_ms: i64,
    /// Who.
    pub actor: Actor,
    /// A route's template and its method, or the name of what was done.
    pub action: String,
    /// Ids of what it was done to.
    pub objects: Vec<String>,
    /// Names of the fields that were sent.
    pub fields: Vec<String>,
    /// What else is worth knowing; never personal.
    pub details: BTreeMap<String, String>,
    /// The name of the request.
    pub request_id: Option<String>,
}

impl Entry {
    /// An entry that says no more than this, and the name of the request, if there is one.
    pub fn new(at_ms: i64, actor: Actor, action: &str) -> Self {
        Self {
            at_ms,
            actor,
            action: action.to_owned(),
            objects: Vec::new(),
            fields: Vec::new(),
            details: BTreeMap::new(),
            request_id: draft::request_id(),
        }
    }

    /// The same with one more object.
    #[must_use]
    pub fn on(mut self, object: impl std::fmt::Display) -> Self {
        self.objects.push(object.to_string());
        self
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }
}

/// Walks a whole chain; `None` is the installation's own. Rows that are appended meanwhile may or may not be in it.
///
/// # Errors
/// What the database says; a broken chain is no error, see [`Walk::first_bad`].
pub async fn verify(store: &Store, chain: Option<AppId>) -> Result<Walk> {
    let mut walk = Walk::default();
    loop {
        let after = walk.seen;
        let rows = store.read(move |conn| rows_after(conn, chain, after, ROWS_AT_A_TIME)).await?;
        if rows.is_empty() {
            return Ok(walk);
        }
        rows.iter().for_each(|row| walk.step(row));
    }
}

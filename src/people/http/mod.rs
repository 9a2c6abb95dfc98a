//! Wire types and handlers of profiles, preferences, consents and devices, for the user (`/v1/me`) and for the app's own
//! back end (`/v1/users`), and of what an app declares: purposes, topics, attributes.
//!
//! They live above the rooms because each needs the callers of `account` and more than one room.

pub mod age;
pub mod attributes;
pub mod badge;
pub mod consents;
pub mod devices;
pub mod gpc;
pub mod me;
pub mod preferences;
pub mod purposes;
pub mod receipts;
mod record;
pub mod start_tokens;
pub mod topics;
pub mod users;

use crate::error::{Error, Result};
use crate::http::PageQuery;
use crate::id::UserId;

/// Reads a user's id in a URL; what is none is the same 404 as a user of another app.
fn user_id(path: &str) -> Result<UserId> {
    path.parse().map_err(|_| Error::not_found("user"))
}

/// The rows of one page of a list that is held in memory, sorted by key.
fn rows_of<T>(page: &PageQuery, all: Vec<T>, key: impl Fn(&T) -> String) -> Result<Vec<T>> {
    let limit = usize::try_from(page.rows()?).unwrap_or(1);
    Ok(all.into_iter().filter(|item| key(item).as_str() > page.after()).take(limit).collect())
}

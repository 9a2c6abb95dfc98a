//! The rights of a person: everything about them shown, forgotten, or handed over to the account that they sign in to;
//! and for how long each class of data is kept.
//!
//! Each room that holds personal data says in its `personal.rs` what it holds; only this module calls them all.
//!
//! **Erasure.** At once, in one transaction: sessions end, devices lose their tokens, what waits to be sent ends, and the
//! user is hidden, so that nobody signs in as them, matches an event with them or decides about them. When the window to
//! undo it is over, a worker deletes the rows of all rooms in bounded transactions; each of them begins from the first
//! room, so that it can be killed at any point. What stays are counts and tombstones: keyed hashes of the user's names, by
//! which events that come late are kept without subject, properties and location.
//!
//! **Merge** of an anonymous user into an account: [`merge`] has the rules.
//!
//! **Retention**: [`retention`] has the classes.

mod erase;
mod export;
pub mod http;
pub mod merge;
pub mod retention;

use crate::error::Result;
use crate::event;
use crate::id::{AppId, UserId};
use crate::mail;
use crate::moment;
use crate::people::{account, consent, device, merge as merges, profile};
use crate::place;
use crate::platform::Platform;
use crate::platform::epoch;
use crate::platform::personal::{self, Budget, Room};
use crate::push;
use crate::store::Conn;
use crate::webhook;
use crate::worker::{Hint, Progress, Worker};

/// The rooms that hold personal data, in the order in which they forget: what is found by a device or by the user's own
/// row comes before it, and the ledger after it.
const ROOMS: [&Room; 11] = [
    &moment::personal::ROOM,
    &push::personal::ROOM,
    &event::personal::ROOM,
    &place::personal::ROOM,
    &account::personal::ROOM,
    &device::personal::ROOM,
    &merges::personal::ROOM,
    &profile::personal::ROOM,
    &consent::personal::ROOM,
    &webhook::personal::ROOM,
    &mail::personal::ROOM,
];

/// Rows that one transaction touches: it is over in some ten milliseconds.
const ROWS_PER_STEP: i64 = 1_000;
/// Transactions that began before a user was hidden are over after this time; then everything is looked at once more.
const SETTLE_MS: i64 = 60_000;
/// When to look again at what waits for a message that is being sent, in milliseconds.
const LATER_MS: i64 = 1_000;
/// Longest wait of the worker without a hint, in milliseconds.
const POLL_MS: u64 = 1_000;

/// The workers: merges and erasures, and retention.
pub fn workers(platform: &Platform) -> Vec<Worker> {
    let (people, classes) = (platform.clone(), platform.clone());
    vec![
        Worker::new("privacy", Hint::default(), POLL_MS, move || {
            let platform = people.clone();
            async move {
                // What is on its way to an account arrives before the account is erased.
                match merge::step(&platform).await? {
                    Progress::More => Ok(Progress::More),
                    Progress::Idle | Progress::Until(_) => erase::step(&platform).await,
                }
            }
        }),
        Worker::new("retention", Hint::default(), retention::POLL_MS, move || {
            let platform = classes.clone();
            async move { retention::step(&platform).await }
        }),
    ]
}

/// Forgets rows of a user in all rooms, as far as the budget reaches.
fn forget(conn: &mut Conn, (app, user): (AppId, UserId), budget: &mut Budget) -> Result<()> {
    for room in ROOMS {
        if let Some(erase) = room.erase {
            erase(conn, (app, user), budget)?;
            // Rows that hang together go together: the rest comes when there is none of them left.
            if !budget.found_nothing() {
                return Ok(());
            }
        }
        for table in room.tables {
            personal::forget(conn, table, (app, user), budget)?;
        }
    }
    if budget.found_nothing() {
        budget.spend(epoch::forget(conn, app, user)?);
    }
    Ok(())
}

//! What came of messages: a choice of which nothing arrived counts in no cap and gives its stock back.

use super::store;
use crate::campaign;
use crate::error::Result;
use crate::id::{AppId, ChoiceId};
use crate::push::State;
use crate::store::Conn;
use crate::worker::Progress;
use std::collections::BTreeSet;

/// Ended messages of one step.
const BATCH: i64 = 500;

/// Looks at ended messages that nobody has looked at yet.
///
/// # Errors
/// What the database says.
pub(super) fn step(conn: &mut Conn) -> Result<Progress> {
    let ended = store::ended(conn, BATCH)?;
    if ended.is_empty() {
        return Ok(Progress::Idle);
    }
    let choices: BTreeSet<(AppId, ChoiceId)> = ended.iter().map(|m| (m.app_id, m.choice_id)).collect();
    for (app, choice) in choices {
        let states = store::states_of(conn, app, choice)?;
        // A state that we cannot read is taken to count: caps err on the side of silence.
        if states.iter().any(|s| State::parse(s).is_none_or(State::counts)) {
            continue;
        }
        stop_counting(conn, app, choice)?;
    }
    store::mark_settled(conn, &ended)?;
    Ok(Progress::More)
}

/// From now on a choice counts in no cap, and what it held of the stock is free: once, however often it is said.
///
/// # Errors
/// What the database says.
pub(super) fn stop_counting(conn: &mut Conn, app: AppId, choice: ChoiceId) -> Result<()> {
    match store::stop_counting(conn, app, choice)? {
        Some(offer) => campaign::release_stock(conn, app, &[(offer, 1)]),
        None => Ok(()),
    }
}

//! What came of messages: a choice of which nothing arrived counts in no cap and gives its stock back, and the app's own
//! servers are told, where they listen.

use super::store::{self, Ended};
use crate::campaign;
use crate::error::Result;
use crate::id::{AppId, ChoiceId};
use crate::push::State;
use crate::store::Conn;
use crate::webhook::{self, MessageResult};
use crate::worker::Progress;
use std::collections::{BTreeMap, BTreeSet};

/// Ended messages of one step.
const BATCH: i64 = 500;

/// Looks at ended messages that nobody has looked at yet.
///
/// # Errors
/// What the database says.
pub(super) fn step(conn: &mut Conn, now_ms: i64) -> Result<Progress> {
    let ended = store::ended(conn, BATCH)?;
    if ended.is_empty() {
        return Ok(Progress::Idle);
    }
    // A recall is no part of what its choice has said.
    let spoke = || ended.iter().filter(|m| m.recalls.is_empty());
    let counts = |m: &&Ended| counts(&m.state);
    let arrived: BTreeSet<(AppId, ChoiceId)> = spoke().filter(counts).map(|m| (m.app_id, m.choice_id)).collect();
    let lost: BTreeSet<(AppId, ChoiceId)> = spoke().map(|m| (m.app_id, m.choice_id)).collect();
    for (app, choice) in lost.difference(&arrived).copied() {
        let states = store::states_of(conn, app, choice)?;
        if states.iter().any(|word| self::counts(word)) {
            continue;
        }
        stop_counting(conn, app, choice)?;
    }
    let mut told: BTreeMap<AppId, Vec<MessageResult>> = BTreeMap::new();
    for message in &ended {
        told.entry(message.app_id).or_default().extend(result(message));
    }
    for (app, results) in &told {
        webhook::tell_results(conn, *app, (results, now_ms))?;
    }
    store::mark_settled(conn, &ended)?;
    Ok(Progress::More)
}

/// A state that we cannot read is taken to count: caps err on the side of silence.
fn counts(word: &str) -> bool {
    State::parse(word).is_none_or(State::counts)
}

/// What the app's servers are told of an ended message; of a recall, when it has reached its gateway.
fn result(message: &Ended) -> Option<MessageResult> {
    let state = State::parse(&message.state)?;
    let (message_id, kind) = if message.recalls.is_empty() {
        (message.id, state.word())
    } else {
        (message.recalls.parse().ok().filter(|_| state == State::Accepted)?, "recalled")
    };
    let reason = message.reason.clone().filter(|_| state != State::Accepted);
    Some(MessageResult { message_id, user_id: message.user_id, kind, at_ms: message.ended_ms?, reason })
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

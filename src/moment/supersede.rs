//! A newer moment of a kind that supersedes: what is held or queued for older ones is taken back.

use super::commit::stale;
use super::decision::Reason;
use super::store::{self, WaitingChoice};
use super::{feedback, release};
use crate::error::Result;
use crate::id::{AppId, ChoiceId, MomentId, UserId};
use crate::push;
use crate::store::Conn;
use serde_json::json;

/// A newer moment, and the choices of older ones of which nothing had left.
pub(super) struct Superseded {
    pub user_id: UserId,
    pub kind: String,
    pub opened_ms: i64,
    /// Whether a test key opened it: it takes back tests only, and nothing else does.
    pub test: bool,
    /// The newer moment.
    pub by: MomentId,
    pub choices: Vec<WaitingChoice>,
}

/// Takes back what is held and cancels what waits, with the stock that they hold; what is on its way goes on, but is not
/// tried again. Where the kind says so, what was shown is recalled now.
///
/// # Errors
/// [`stale`] when something has moved on that the newer decision took for taken back.
pub(super) fn write(conn: &mut Conn, app: AppId, superseded: &Superseded, now_ms: i64) -> Result<()> {
    for held in superseded.choices.iter().filter(|choice| choice.held) {
        let of = (held.decision_id, held.choice_id, held.planned_ms);
        let said = json!({ "at_ms": now_ms, "reason": Reason::Superseded.name(), "by_moment_id": superseded.by });
        release::refuse(conn, app, of, (Reason::Superseded, &said))?;
    }
    let older = (superseded.opened_ms, superseded.by);
    let Superseded { user_id, kind, test, .. } = superseded;
    let waiting = store::waiting_of_kind(conn, app, (*user_id, kind, *test), older)?;
    for message in waiting {
        push::outbox::cancel(conn, app, (message, Reason::Superseded.name()), now_ms)?;
    }
    store::bring_recalls_forward(conn, app, (*user_id, kind, *test), (superseded.opened_ms, superseded.by, now_ms))?;
    let queued = superseded.choices.iter().filter(|choice| !choice.held);
    let queued: Vec<ChoiceId> = queued.map(|choice| choice.choice_id).collect();
    // The newer decision took them for taken back; what has left since then counts, and it has to be made again.
    if store::not_cancelled(conn, app, &queued)? != 0 {
        return Err(stale());
    }
    queued.into_iter().try_for_each(|choice| feedback::stop_counting(conn, app, choice))
}

//! How an attempt ends: from what became of a hand-over to the message's next state. Pure.

use super::message::{Mode, State};
use super::pulse::PAUSE_MS;
use super::retry::Pauses;
use super::verdict::{Reason, Verdict};
use crate::outbound::Loss;

/// Pause before a push that the gateway refused unseen is sent again for the second time, in milliseconds.
const REFUSED_BASE_MS: i64 = 200;
const REFUSED_LIMIT_MS: i64 = 10_000;

/// When to ask again after our credential was refused. A single message that waits for weeks must not ask all that time.
const MENDING: Pauses = Pauses { base_ms: PAUSE_MS, limit_ms: 10 * PAUSE_MS, floor_ms: PAUSE_MS };

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The gateway answered.
    Said {
        /// HTTP status.
        status: u16,
        /// What it means.
        verdict: Verdict,
    },
    /// No answer came.
    Lost(Loss),
    /// Nothing has left.
    Held(Held),
}

/// Why a message was let go before a byte had left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Its deadline has passed.
    Expired,
    /// Its user's fence was closed: consent or device have changed since the claim.
    Fenced,
    /// The slot or our own credential was gone.
    Slotless,
    /// It can never be sent as it is.
    Impossible(&'static str),
}

/// An attempt, as far as its end depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// 1 for the first.
    pub attempt: i64,
    /// UTC milliseconds.
    pub deadline_ms: i64,
    /// What to do when nobody knows.
    pub mode: Mode,
    /// When the end was known, UTC milliseconds.
    pub now_ms: i64,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The state after the attempt.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// When it is to be sent again, for states that wait.
    pub due_ms: Option<i64>,
    /// Since when the token is dead, when the gateway said so beyond doubt.
    pub dead_ms: Option<i64>,
    /// Whether the push may have arrived although it is to be sent again. It is remembered: whatever else comes of the message
    /// than an answer that it was taken, it ends as `unknown`.
    pub perhaps: bool,
}

impl Next {
    fn end(state: State, reason: impl Into<Reason>) -> Self {
        Self { state, reason: Some(reason.into()), due_ms: None, dead_ms: None, perhaps: false }
    }

    /// Nothing has left and nothing speaks against another try.
    pub fn held_back(now_ms: i64) -> Self {
        Self::wait(State::Queued, "no_connection", now_ms)
    }

    /// Another try at this time.
    pub fn again(reason: &'static str, due_ms: i64) -> Self {
        Self::wait(State::RetryAt, reason, due_ms)
    }

    fn wait(state: State, reason: impl Into<Reason>, due_ms: i64) -> Self {
        Self { due_ms: Some(due_ms), ..Self::end(state, reason) }
    }
}

/// The state after an attempt; `whim` in [0, 1) is the jitter.
///
/// A retry that could only come after the deadline is still written as `retry_at`, due at the deadline: there the claim
/// ends it as `expired`, in the one place that expires messages.
pub fn next(tried: Tried, end: &End, pauses: Pauses, whim: f64) -> Next {
    let Tried { attempt, deadline_ms, now_ms, .. } = tried;
    let again = |reason: &Reason, pause_ms: i64| {
        Next::wait(State::RetryAt, reason.clone(), now_ms.saturating_add(pause_ms).min(deadline_ms))
    };
    match end {
        End::Said { verdict, .. } => match verdict {
            Verdict::Accepted => Next { reason: None, ..Next::end(State::Accepted, "") },
            Verdict::Rejected(reason) => Next::end(State::Rejected, reason.clone()),
            Verdict::Misconfigured(reason) => again(reason, MENDING.after(attempt, None, 1.0)),
            Verdict::Unregistered { at_ms } => Next { dead_ms: *at_ms, ..Next::end(State::Rejected, "unregistered") },
            Verdict::Later { reason, after_ms } => again(reason, pauses.after(attempt, *after_ms, whim)),
            Verdict::Hold(reason) => again(reason, pauses.after(attempt, None, whim)),
            // What is wrong is mended by now: a new token, a new connection.
            Verdict::Renew(reason) | Verdict::Reconnect(reason) if attempt <= 1 => again(reason, 0),
            Verdict::Renew(reason) | Verdict::Reconnect(reason) => again(reason, pauses.after(attempt, None, whim)),
        },
        End::Lost(Loss::Unsent(reason)) => {
            let refused = Pauses { base_ms: REFUSED_BASE_MS, limit_ms: REFUSED_LIMIT_MS, floor_ms: 0 };
            let pause_ms = if attempt <= 1 { 0 } else { refused.after(attempt, None, whim) };
            again(&Reason::Borrowed(*reason), pause_ms)
        }
        End::Lost(Loss::Unknown(reason)) => unknown(tried, reason),
        End::Held(held) => match held {
            Held::Expired => Next::end(State::Expired, "deadline"),
            // The claim finds out what has changed.
            Held::Fenced => Next::wait(State::Queued, "fenced", now_ms),
            Held::Slotless => Next::held_back(now_ms),
            Held::Impossible(reason) => Next::end(State::Rejected, *reason),
        },
    }
}

/// The end of an attempt of which nobody knows whether it was taken.
pub fn unknown(tried: Tried, reason: &'static str) -> Next {
    match tried.mode {
        Mode::AtMostOnce => Next::end(State::Unknown, reason),
        Mode::AtLeastOnce => Next { perhaps: true, ..Next::wait(State::RetryAt, reason, tried.now_ms.min(tried.deadline_ms)) },
    }
}

//! What a push has come to, in figures that add up at every instant.

use crate::moment::decision::Outcome;
use crate::push::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Figures of a push, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Users for whom it was chosen.
    chosen: i64,
    /// Users for whom it waits for the end of quiet time.
    held: i64,
    /// Users who do not get it, by reason.
    suppressed: BTreeMap<String, i64>,
    /// Messages by state.
    messages: BTreeMap<String, i64>,
    /// Messages that ended otherwise than accepted, by reason.
    reasons: BTreeMap<String, i64>,
}

/// What a push has come to. `users = chosen + held + suppressed`, and `taken` is the sum of all states.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PushCounts)]
pub struct Counts {
    /// Users about whom was decided.
    pub users: i64,
    /// Those for whom it goes out, or went out.
    pub chosen: i64,
    /// Those for whom it waits for the end of quiet time.
    pub held: i64,
    /// Those who do not get it, by reason.
    pub suppressed: BTreeMap<String, i64>,
    /// Messages to devices.
    pub messages: MessageCounts,
    /// Messages that ended otherwise than accepted, or were tried in vain, by reason.
    pub reasons: BTreeMap<String, i64>,
}

/// Messages by state.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = PushMessageCounts)]
pub struct MessageCounts {
    /// All of them.
    pub taken: i64,
    /// Those that have not ended.
    pub waiting: i64,
    /// Those that a gateway has taken.
    pub accepted: i64,
    /// Those that a gateway never will.
    pub rejected: i64,
    /// Those whose deadline passed before they left.
    pub expired: i64,
    /// Those whose consent was withdrawn before they left.
    pub revoked: i64,
    /// Those whose device was gone, or someone else's.
    pub token_dead: i64,
    /// Those that were stopped before they left.
    pub cancelled: i64,
    /// Those of which nobody knows whether a gateway has taken them.
    pub unknown: i64,
}

impl Tally {
    /// Whether nobody was decided about.
    pub fn is_empty(&self) -> bool {
        self.chosen == 0 && self.held == 0 && self.suppressed.is_empty()
    }

    /// Counts decisions.
    pub fn decided(&mut self, (outcome, reason): (&str, Option<&str>), n: i64) {
        match Outcome::named(outcome) {
            Some(Outcome::Chosen) => self.chosen += n,
            Some(Outcome::Held) => self.held += n,
            Some(Outcome::HeldOut | Outcome::ReleaseRefused | Outcome::Silent) | None => {
                *self.suppressed.entry(reason.unwrap_or(outcome).to_owned()).or_default() += n;
            }
        }
    }

    /// Counts messages.
    pub fn sent(&mut self, (state, reason): (&str, Option<&str>), n: i64) {
        *self.messages.entry(state.to_owned()).or_default() += n;
        if let Some(reason) = reason {
            *self.reasons.entry(reason.to_owned()).or_default() += n;
        }
    }

    /// Both together.
    pub fn and(mut self, other: &Self) -> Self {
        self.chosen += other.chosen;
        self.held += other.held;
        let maps = [
            (&mut self.suppressed, &other.suppressed),
            (&mut self.messages, &other.messages),
            (&mut self.reasons, &other.reasons),
        ];
        for (into, from) in maps {
            for (key, n) in from {
                *into.entry(key.clone()).or_default() += n;
            }
        }
        self
    }

    /// Whether something of it waits.
    pub fn waits(&self) -> bool {
        self.held > 0 || self.messages.iter().any(|(state, n)| *n > 0 && State::parse(state).is_none_or(|s| !s.is_end()))
    }

    /// How many devices or refusals it counts: what a list of results would hold.
    pub fn results(&self) -> i64 {
        self.held + self.suppressed.values().sum::<i64>() + self.messages.values().sum::<i64>()
    }

    /// As it is told.
    pub fn counts(&self) -> Counts {
        let of = |state: State| self.messages.get(state.word()).copied().unwrap_or(0);
        let messages = MessageCounts {
            taken: self.messages.values().sum(),
            waiting: [State::Queued, State::Sending, State::RetryAt].into_iter().map(of).sum(),
            accepted: of(State::Accepted),
            rejected: of(State::Rejected),
            expired: of(State::Expired),
            revoked: of(State::Revoked),
            token_dead: of(State::TokenDead),
            cancelled: of(State::Cancelled),
            unknown: of(State::Unknown),
        };
        Counts {
            users: self.chosen + self.held + self.suppressed.values().sum::<i64>(),
            chosen: self.chosen,
            held: self.held,
            suppressed: self.suppressed.clone(),
            messages,
            reasons: self.reasons.clone(),
        }
    }
}

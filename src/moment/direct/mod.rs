//! Direct pushes by an app's own back end: the same gates and the same commit as everything else, without a competition.
//!
//! To its decisions a push is a campaign and an offer of its own, all three under one UUID. A list of up to 1,000 users or
//! devices waits as rows; the audience of a topic or of a rule is walked through in batches. A step decides about the
//! next of them and moves on in the same transaction, so that nobody is met twice and nobody is left out. What has ended
//! is counted behind a cursor of its own, and told once everything has.

mod accept;
mod audience;
mod cancel;
pub mod http;
pub mod personal;
pub mod results;
mod say;
mod settle;
mod spec;
mod store;
mod tally;
mod validate;
mod walk;
mod zones;

pub use audience::Audience;
pub use say::{Along, Said, Saying};
pub(super) use settle::step as settle;
pub use spec::{Kind, NewPush, Spec};
pub(super) use store::{stand, terms_of};
pub(super) use walk::step;

use crate::id::{DeviceId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Somebody for whom a push is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who.
    pub user_id: UserId,
    /// The devices that alone are meant; none: all that there are.
    pub devices: Option<Vec<DeviceId>>,
}

/// An entry of a list behind which there is nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UnknownTarget)]
pub struct Unknown {
    /// Which entry: `audience.tokens[3]`.
    pub entry: String,
    /// `unknown_user`, `unknown_device`.
    pub reason: String,
}

/// Where a push is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PushState)]
pub enum State {
    /// Its time has not come.
    Scheduled,
    /// Its audience is being visited, or something of it waits.
    Running,
    /// Everything of it has ended.
    Done,
    /// Somebody stopped it.
    Cancelled,
}

impl State {
    /// The word in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    fn named(word: &str) -> Option<Self> {
        [Self::Scheduled, Self::Running, Self::Done, Self::Cancelled].into_iter().find(|state| state.name() == word)
    }
}

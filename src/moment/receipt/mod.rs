//! Receipts: what a phone says came of a message. The same one any number of times is one; they come in any order.
//!
//! A phone gathers them while it is away and sends them together. Whoever is signed in speaks for their own messages; an
//! app without a session (signed out, or the extension that shows pushes) speaks for those of its own installation.

mod desk;

pub use desk::Receipts;

use super::value::SKEW_MS;
use crate::id::{AppId, DeviceId, MessageId, UserId};
use serde::{Deserialize, Serialize};

/// What happened to a message on the phone. None implies another: what was not said is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// The phone has it.
    Delivered,
    /// It was shown.
    Displayed,
    /// It, or a button of it, was tapped.
    Opened,
    /// It was swiped away.
    Dismissed,
}

impl ReceiptKind {
    /// The word in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Displayed => "displayed",
            Self::Opened => "opened",
            Self::Dismissed => "dismissed",
        }
    }
}

/// One thing that a phone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Of which message.
    pub message_id: MessageId,
    /// What.
    pub kind: ReceiptKind,
    /// By the phone's clock, UTC milliseconds; absent: now.
    pub at_ms: Option<i64>,
    /// The button that was tapped.
    pub action: Option<String>,
}

/// Who speaks: receipts of messages that are not theirs are of messages that they do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The tenant.
    pub app_id: AppId,
    /// Who is signed in.
    pub user_id: Option<UserId>,
    /// The phone's own name for its installation; without a user it is required.
    pub installation_id: Option<String>,
}

/// A message, as far as receipts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub user_id: UserId,
    pub device_id: DeviceId,
    /// The name of the installation, if the device is still there.
    pub installation_id: Option<String>,
    pub created_ms: i64,
    /// When it was first claimed to be handed over; absent: it never was.
    pub left_ms: Option<i64>,
    /// Whether it can be seen in the inbox without a push.
    pub in_inbox: bool,
}

/// What became of one receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReceiptStatus)]
pub enum Status {
    /// It is on disk.
    Accepted,
    /// It was on disk already, as it was said first.
    Duplicate,
    /// There is no such message, or it is not the caller's.
    NotFound,
    /// Nothing of this message has left this server yet.
    NotSent,
    /// It lies in the future.
    Invalid,
}

/// Whether a receipt is taken, and as of when: never before its message left, never in the future. A phone's clock that is
/// up to five minutes ahead is forgiven; what it says beyond that is refused, for it may be wrong by any amount.
pub(super) fn judge(speaker: &Speaker, said: &Said, known: Option<&Known>, now_ms: i64) -> Result<i64, Status> {
    let own = |k: &&Known| {
        speaker.user_id.is_none_or(|user| user == k.user_id)
            && speaker.installation_id.as_ref().is_none_or(|name| k.installation_id.as_ref() == Some(name))
            && (speaker.user_id.is_some() || speaker.installation_id.is_some())
    };
    let known = known.filter(own).ok_or(Status::NotFound)?;
    let at_ms = said.at_ms.unwrap_or(now_ms);
    if at_ms > now_ms.saturating_add(SKEW_MS) {
        return Err(Status::Invalid);
    }
    let since_ms = match known.left_ms {
        Some(left_ms) => left_ms,
        None if known.in_inbox && said.kind != ReceiptKind::Delivered => known.created_ms,
        None => return Err(Status::NotSent),
    };
    Ok(at_ms.min(now_ms).max(since_ms))
}

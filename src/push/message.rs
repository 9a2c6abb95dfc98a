//! A message: one decision rendered for one device, from its plan to its end.

use crate::id::{AppId, CampaignId, ChoiceId, ConsentId, DecisionId, DeviceId, MessageId, OfferId, PartnerId, UserId};
use crate::people::consent::Need;
use crate::people::device::{Environment, Platform};
use crate::push::activity::Shown;
use crate::push::{Content, apns, fcm, sealing, webpush};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

words! {
    /// Where pushes go out.
    Gateway {
        /// Apple's.
        Apns = "apns",
        /// Google's.
        Fcm = "fcm",
        /// Those of browsers.
        WebPush = "webpush",
    }
}

words! {
    /// What to do with a message whose fate a crash or a cut has hidden.
    Mode {
        /// It ends as `unknown`.
        AtMostOnce = "at_most_once",
        /// It is sent again under the same ids, so that a phone shows it once.
        AtLeastOnce = "at_least_once",
    }
}

words! {
    /// A message's life.
    State {
        /// Waits to be sent.
        Queued = "queued",
        /// Claimed, maybe handed over, not answered yet.
        Sending = "sending",
        /// Waits to be sent again.
        RetryAt = "retry_at",
        /// The gateway has taken it.
        Accepted = "accepted",
        /// The gateway never will.
        Rejected = "rejected",
        /// Its deadline passed before it left.
        Expired = "expired",
        /// Its consent was withdrawn before it left.
        Revoked = "revoked",
        /// Its device was gone, or someone else's, before it left.
        TokenDead = "token_dead",
        /// Its campaign was stopped, or somebody cancelled it, before it left.
        Cancelled = "cancelled",
        /// Nobody knows whether the gateway has taken it; it is not sent again. Where it would have been, the reason says why not:
        /// it was cancelled, say, or its deadline passed.
        Unknown = "unknown",
    }
}

impl State {
    /// Whether no edge leads out of it.
    pub fn is_end(self) -> bool {
        match self {
            Self::Queued | Self::Sending | Self::RetryAt => false,
            Self::Accepted
            | Self::Rejected
            | Self::Expired
            | Self::Revoked
            | Self::TokenDead
            | Self::Cancelled
            | Self::Unknown => true,
        }
    }

    /// Whether a message that ended so counts in caps and keeps its reservation.
    pub fn counts(self) -> bool {
        match self {
            Self::Queued | Self::Sending | Self::RetryAt | Self::Accepted | Self::Unknown => true,
            Self::Rejected | Self::Expired | Self::Revoked | Self::TokenDead | Self::Cancelled => false,
        }
    }
}

impl Gateway {
    /// The gateway that reaches devices of this platform.
    pub fn of(platform: Platform) -> Self {
        match platform {
            Platform::Ios => Self::Apns,
            Platform::Android => Self::Fcm,
            Platform::Web => Self::WebPush,
        }
    }

    /// The platform whose devices it reaches.
    pub fn platform(self) -> Platform {
        match self {
            Self::Apns => Platform::Ios,
            Self::Fcm => Platform::Android,
            Self::WebPush => Platform::Web,
        }
    }
}

/// What every push carries of us.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The message.
    pub message_id: MessageId,
    /// The decision behind it.
    pub decision_id: DecisionId,
    /// The campaign behind it.
    pub campaign_id: CampaignId,
    /// UTC milliseconds after which it must not be shown.
    pub deadline_ms: i64,
}

/// Why a message may be sent; checked again when an epoch has moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// The purpose that the offer names.
    pub purpose: String,
    /// The partner whose offer it is.
    pub partner_id: Option<PartnerId>,
    /// The topic that it belongs to, which users can switch off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Whether pauses and quiet hours do not concern it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub critical: bool,
    /// What it needed besides: `location`, a partner's events or links, the purposes of attributes that it read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trigger_needs: Vec<Need>,
    /// The records that allowed it, one for each need that rests on consent.
    pub consent_ids: Vec<ConsentId>,
    /// When the first of them stops to count by itself, UTC milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

/// A message to be planned.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id; the gateway's `apns-id` is the UUID in it.
    pub id: MessageId,
    /// The app.
    pub app_id: AppId,
    /// The decision that it carries out.
    pub decision_id: DecisionId,
    /// The choice that it carries out.
    pub choice_id: ChoiceId,
    /// To whom.
    pub user_id: UserId,
    /// On which device.
    pub device_id: DeviceId,
    /// For which campaign.
    pub campaign_id: CampaignId,
    /// For which offer.
    pub offer_id: OfferId,
    /// Through which gateway.
    pub gateway: Gateway,
    /// The device's token, as it was when the decision was made.
    pub token: String,
    /// The token's world.
    pub environment: Environment,
    /// The app's bundle id on the device.
    pub topic: Option<String>,
    /// Whether it may go to the stand-in or sandbox only.
    pub test: bool,
    /// The words.
    pub content: Content,
    /// In their place: what a Live Activity is to show. The token is that activity's, or one that starts it; "" while the
    /// phone has not said it.
    pub activity: Option<Arc<Shown>>,
    /// Pushes with the same id replace each other on the phone; at most 64 bytes of visible ASCII.
    pub collapse_id: String,
    /// What to do when its fate is hidden.
    pub mode: Mode,
    /// Whether it is one of many that are said to a large audience: those let what is said to one person go first.
    pub bulk: bool,
    /// Why it may be sent.
    pub allowed: Allowed,
    /// The user's consent epoch that `allowed` was judged at.
    pub consent_epoch: i64,
    /// The app's consent epoch that `allowed` was judged at.
    pub app_consent_epoch: i64,
    /// Not before this time, UTC milliseconds.
    pub due_ms: i64,
    /// Not at or after this time, UTC milliseconds.
    pub deadline_ms: i64,
}

impl NewMessage {
    /// The payload as it is stored and sent.
    pub fn payload(&self) -> String {
        match &self.activity {
            Some(shown) => shown.payload(&self.stamp()),
            None => render_as(self.gateway, &self.content, (&self.stamp(), &self.collapse_id)),
        }
    }

    /// What the gateway is told beside the payload; absent: the usual.
    pub(super) fn head(&self) -> Option<String> {
        if let Some(shown) = &self.activity {
            return Some(shown.head());
        }
        match self.gateway {
            Gateway::Apns => self.content.head().map(|head| head.text()),
            Gateway::Fcm => None,
            Gateway::WebPush => webpush::head(&self.content),
        }
    }

    fn stamp(&self) -> Stamp {
        let Self { id, decision_id, campaign_id, deadline_ms, .. } = *self;
        Stamp { message_id: id, decision_id, campaign_id, deadline_ms }
    }
}

/// Renders a payload for a gateway.
pub fn render(gateway: Gateway, content: &Content, stamp: &Stamp) -> String {
    match &content.collapse_id {
        Some(collapse_id) => render_as(gateway, content, (stamp, collapse_id)),
        None => render_as(gateway, content, (stamp, &stamp.message_id.to_string())),
    }
}

/// Renders a payload that replaces those with the same collapse id.
pub fn render_as(gateway: Gateway, content: &Content, (stamp, collapse_id): (&Stamp, &str)) -> String {
    match content.parted(gateway) {
        Some((clear, outside)) => sealing::keep_apart(&clear, &render_as(gateway, &outside, (stamp, collapse_id))),
        None => match gateway {
            Gateway::Apns => apns::render(content, stamp),
            Gateway::Fcm => fcm::render(content, stamp, collapse_id),
            Gateway::WebPush => webpush::render(content, stamp, collapse_id),
        },
    }
}

/// The number on the icon that a rendered payload sets.
pub fn badge_of(payload: &str) -> Option<u32> {
    let payload: serde_json::Value = serde_json::from_str(payload).ok()?;
    match &payload["aps"]["badge"] {
        serde_json::Value::Null => payload["data"]["kairos_badge"].as_str()?.parse().ok(),
        number => u32::try_from(number.as_u64()?).ok(),
    }
}

impl Allowed {
    /// Everything that has to be in force for the message to go, the trigger's needs first.
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        let own = Need { purpose: self.purpose.clone(), partner: self.partner_id };
        self.trigger_needs.iter().cloned().chain([own])
    }
}

/// One hand-over or the try of one, as stored with the message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub n: i64,
    /// When it was claimed, UTC milliseconds.
    pub started_ms: i64,
    /// When its end was known, UTC milliseconds.
    pub ended_ms: i64,
    /// The gateway's HTTP status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The status of an accepted attempt that is not written down.
pub(super) const PLAIN_STATUS: u16 = 200;

impl Attempt {
    /// All attempts of a message: those that are written down, and the one that was accepted with a plain 200. Most pushes
    /// are, at once, and their row says everything about that attempt: written out it would be the widest column to change.
    pub fn all(written: Vec<Self>, state: &str, (n, sending_ms, ended_ms): (i64, Option<i64>, Option<i64>)) -> Vec<Self> {
        let is_written = written.last().is_some_and(|last| last.n >= n);
        let accepted = State::parse(state) == Some(State::Accepted) && !is_written;
        let last = sending_ms.zip(ended_ms).filter(|_| accepted).map(|(started_ms, ended_ms)| Self {
            n,
            started_ms,
            ended_ms,
            status: Some(PLAIN_STATUS),
            reason: None,
        });
        written.into_iter().chain(last).collect()
    }
}

/// What a gateway's client needs of a message.
#[derive(Debug, Clone)]
pub struct Push {
    /// Its id.
    pub id: MessageId,
    /// The device's token.
    pub token: String,
    /// The app's bundle id on the device.
    pub topic: Option<String>,
    /// Pushes with the same id replace each other on the phone.
    pub collapse_id: String,
    /// UTC milliseconds.
    pub deadline_ms: i64,
    /// When its consent ends by itself, UTC milliseconds.
    pub consent_until_ms: Option<i64>,
    /// What the gateway is told beside the body, as [`Head::text`](super::content::Head::text) wrote it; absent: the usual.
    pub head: Option<String>,
    /// As [`render`] made it.
    pub payload: Bytes,
}

//! The outcome of a decision: every candidate with its verdicts and score, the choices, or the silence with its reason.

use super::input::Version;
use super::refusal::{GateVerdict, Refusal};
use crate::id::{CampaignId, ConsentId, DeviceId, OfferId, PartnerId};
use crate::push::Content;
use serde::{Deserialize, Serialize};

/// What `decide` answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What came of it.
    pub outcome: Outcome,
    /// Why there is silence.
    pub reason: Option<Reason>,
    /// How every candidate fared, in the order of the input.
    pub candidates: Vec<Tried>,
    /// The winners, best first.
    pub choices: Vec<Choice>,
}

/// What came of a moment. Where several choices differ, the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one offer went out, or is on its way.
    Chosen,
    /// An offer waits for the end of quiet time.
    Held,
    /// A control group hears nothing, so that lift can be measured.
    HeldOut,
    /// What was held may no longer be said.
    ReleaseRefused,
    /// Nothing is said.
    Silent,
}

/// Why there is silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No live campaign has an offer for such a moment.
    NoCandidate,
    /// The refusal of the candidate that came furthest.
    Refused(Refusal),
    /// The campaign of a held choice is paused or has ended.
    CampaignNotLive,
    /// A newer moment of the kind took the place of this one.
    Superseded,
    /// Somebody cancelled it.
    Cancelled,
    /// The decision failed again and again; the fault is logged.
    Failed,
}

/// How one candidate fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Which offer of which campaign.
    #[serde(flatten)]
    pub version: Version,
    /// Whose offer it is, when it is a partner's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub partner_id: Option<PartnerId>,
    /// Each gate up to the first refusal.
    pub gates: Vec<GateVerdict>,
    /// What it scored, when it passed gates 1 to 8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<f64>,
    /// How it ended.
    pub result: Fate,
}

/// How a candidate ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It goes out now.
    Chosen,
    /// It goes out when quiet time ends.
    Held,
    /// A gate refused it.
    Refused,
    /// Others were better, and there was room for no more.
    Outscored,
    /// Its campaign has won with another offer.
    SameCampaign,
    /// Its offer has won through another campaign.
    SameOffer,
    /// Another offer of its exclusive group has won.
    SameGroup,
}

/// One winner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Whose words.
    pub campaign_id: CampaignId,
    /// What is offered.
    pub offer_id: OfferId,
    /// When it goes out.
    pub planned_ms: i64,
    /// Whether it waits for the end of quiet time.
    pub held: bool,
    /// Until when it may be handed over.
    pub deadline_ms: i64,
    /// Under which category it counts in caps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub category: Option<String>,
    /// Whether it passes caps and counts in none.
    pub critical: bool,
    /// The records that allow it: one for each need that rests on consent.
    pub consent_ids: Vec<ConsentId>,
    /// The devices it goes to; none while it is held.
    pub devices: Vec<DeviceId>,
    /// Its words for each of the devices. They are kept with the messages, not here.
    #[serde(skip)]
    pub words: Vec<Content>,
}

impl Outcome {
    /// Its name in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Held => "held",
            Self::HeldOut => "held_out",
            Self::ReleaseRefused => "release_refused",
            Self::Silent => "silent",
        }
    }

    /// Reads its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Chosen, Self::Held, Self::HeldOut, Self::ReleaseRefused, Self::Silent].into_iter().find(|o| o.name() == name)
    }
}

impl Reason {
    /// Those that no gate has said.
    pub const OTHERS: &[Self] = &[Self::NoCandidate, Self::CampaignNotLive, Self::Superseded, Self::Cancelled, Self::Failed];

    /// In words for the person whom it concerns.
    pub fn plain(self) -> &'static str {
        match self {
            Self::NoCandidate => "There was nothing to say.",
            Self::Refused(refusal) => refusal.plain(),
            Self::CampaignNotLive => "The campaign that it belonged to had stopped.",
            Self::Superseded => "Something newer took its place.",
            Self::Cancelled => "It was cancelled.",
            Self::Failed => "Something went wrong here while it was being decided.",
        }
    }

    /// The stable word.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCandidate => "no_candidate",
            Self::Refused(refusal) => refusal.name(),
            Self::CampaignNotLive => "campaign_not_live",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

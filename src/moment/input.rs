//! Everything that a decision is made from, as one value: it is stored with the decision, which can be made again from it.

use super::refusal::Refusal;
use super::value::Span;
use crate::app::QuietHours;
use crate::campaign::Cap;
use crate::error::{Error, Result};
use crate::id::{CampaignId, ConsentId, DeviceId, MomentId, OfferId, UserId};
use crate::people::consent::Need;
use crate::people::device::Platform;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};

/// An input never unpacks to more than this.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// The whole input of `decide`. Nothing else may sway it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The time of the decision.
    pub now_ms: i64,
    /// Randomness for draws, kept so that they can be drawn again.
    pub seed: u64,
    /// Predicted time from now to the phone: the p95 of the gateway, in milliseconds.
    pub latency_ms: i64,
    /// The moment, or the stretch of time in which a scheduled campaign may speak.
    pub moment: Opening,
    /// What rules and templates see, except the device.
    pub facts: Facts,
    /// For whom.
    pub user: Who,
    /// The limits of the app.
    pub limits: Limits,
    /// What the user heard lately, or will hear: choices that count.
    pub heard: Vec<Heard>,
    /// The other choices of the same decision, when a held one is looked at again: no gap lies between them.
    #[serde(default)]
    pub beside: Vec<Heard>,
    /// The consents without which the trigger may not be matched with this user.
    pub trigger_needs: Vec<TriggerNeed>,
    /// Whether a test key opened it: its messages are tests, and it counts in no cap and no stock.
    pub test: bool,
    /// What competes.
    pub candidates: Vec<Candidate>,
}

/// The moment of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Absent for a scheduled campaign.
    pub id: Option<MomentId>,
    /// The key of its kind; the word `schedule` for a scheduled campaign.
    pub kind: String,
    /// What tells moments of one kind apart.
    pub key: String,
    /// When it opened, for how long, and how its value falls.
    pub span: Span,
    /// How many offers may be chosen.
    pub offers_max: u32,
}

/// What rules and templates see. JSON objects, or null where there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those in rules")]
pub struct Facts {
    pub user: Value,
    pub event: Value,
    pub moment: Value,
    pub place: Value,
    pub thing: Value,
}

/// The user of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// Its id.
    pub id: UserId,
    /// The language chosen by the user.
    pub locale: Option<String>,
    /// The time zone chosen by the user.
    pub time_zone: Option<String>,
    /// The user's quiet hours, else the app's.
    pub quiet_hours: Option<QuietHours>,
    /// No messages before this.
    pub paused_until_ms: Option<i64>,
    /// Whether the channel `push` is on.
    pub push_on: bool,
    /// The topics that the candidates name, each on or off for this user; a topic that does not exist is not here.
    pub topics: BTreeMap<String, bool>,
    /// How often the user wants to hear anything at all.
    pub frequency: Vec<Cap>,
    /// The devices, in the order of their ids.
    pub devices: Vec<Device>,
}

/// One installation of the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Which gateway reaches it follows from this.
    pub platform: Platform,
    /// Whether it has a push token that has not ended by itself.
    pub has_token: bool,
    /// Whether the operating system lets it show messages.
    pub permitted: bool,
    /// Apple's word for the kind of push that its token is for alone; absent: for what is no such kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_kind: Option<String>,
    /// Its language.
    pub locale: Option<String>,
    /// Its time zone.
    pub time_zone: Option<String>,
    /// When it was last heard of.
    pub last_seen_ms: i64,
    /// What rules see of it.
    pub facts: Value,
}

/// The app's own limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The zone of users and devices that name none.
    pub time_zone: String,
    /// Over everything that a user hears.
    pub overall: Vec<Cap>,
    /// By category.
    pub per_category: BTreeMap<String, Vec<Cap>>,
    /// Least time between two messages to a user.
    pub min_gap_ms: i64,
}

/// One choice that counts in caps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Whose words.
    pub campaign_id: CampaignId,
    /// Under which category.
    pub category: Option<String>,
    /// When it went out, or is to go out.
    pub planned_ms: i64,
}

/// An offer of a campaign that competes. The specs are kept once per version, not with every decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which offer of which campaign.
    pub version: Version,
    /// How the ledger stands with the offer's need.
    pub standing: Standing,
    /// How many may still be chosen; absent: without end.
    pub stock_left: Option<i64>,
    /// The attributes among the facts that it must not see: others of this decision may.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden: BTreeSet<String>,
    /// The consents under which its rules and words saw attributes that they read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<TriggerNeed>,
    /// The devices that alone are meant, where a direct push names devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<DeviceId>>,
    /// By which a phone replaces what it shows, where a direct push names one: it is weighed with the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
}

/// An offer and its campaign, each as it was at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Whose words.
    pub campaign_id: CampaignId,
    /// The campaign's revision.
    pub campaign_revision: i64,
    /// What is offered.
    pub offer_id: OfferId,
    /// The offer's revision.
    pub offer_revision: i64,
}

/// A consent under which the trigger was matched with the user, or an attribute seen: `location`, a partner's events or
/// links, the purpose of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerNeed {
    /// What has to be granted.
    pub need: Need,
    /// How the ledger stands with it.
    pub standing: Standing,
}

/// How a user's consent ledger stands with one need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// This record allows it.
    Granted(ConsentId),
    /// The purpose rests on a contract.
    NotNeeded,
    /// It is not allowed.
    Refused(Refusal),
}

/// Whether this is a direct push: it is its own campaign and its own offer, both of its UUID. It has no stock.
pub fn is_direct(campaign: CampaignId, offer: OfferId) -> bool {
    campaign.uuid() == offer.uuid()
}

impl Version {
    /// See [`is_direct`].
    pub fn is_direct(&self) -> bool {
        is_direct(self.campaign_id, self.offer_id)
    }
}

impl Input {
    /// The stored form: JSON, compressed (zlib, RFC 1950).
    ///
    /// # Errors
    /// Never in practice.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut encoder = ZlibEncoder::new(Vec::with_capacity(1024), Compression::fast());
        encoder.write_all(&serde_json::to_vec(self).map_err(Error::broken)?).map_err(Error::broken)?;
        encoder.finish().map_err(Error::broken)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When the bytes are none of ours.
    pub fn unpack(bytes: &[u8]) -> Result<Self> {
        let mut json = Vec::new();
        ZlibDecoder::new(bytes).take(INPUT_BYTES_MAX).read_to_end(&mut json).map_err(Error::broken)?;
        serde_json::from_slice(&json).map_err(Error::broken)
    }
}

//! The gates by name, and every reason for which one refuses: stable words, part of the contract. Pure.

use crate::campaign::rule::RuleFailure;
use crate::people::consent;
use serde::{Deserialize, Serialize};

/// What a candidate has to pass, in this order; `message` comes last, when its words are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the law explains each, under the same name")]
pub enum Gate {
    Window,
    Audience,
    Consent,
    Preference,
    Reachable,
    QuietHours,
    Cap,
    Stock,
    Message,
}

/// What one gate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GateVerdict {
    /// Which gate.
    pub gate: Gate,
    /// What it said.
    pub verdict: Verdict,
    /// Why it refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Refusal>,
    /// The field of the words that is at fault, when it is one: `body`, `data.gate`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// What is wrong with it. It tells no value of a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

impl GateVerdict {
    /// A gate that lets pass.
    pub fn passed(gate: Gate) -> Self {
        Self { gate, verdict: Verdict::Passed, reason: None, field: None, detail: None }
    }

    /// A gate that refuses.
    pub fn refused(gate: Gate, reason: Refusal) -> Self {
        Self { gate, verdict: Verdict::Refused, reason: Some(reason), field: None, detail: None }
    }
}

/// A refusal with the field that did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// The field of the words, when it is one.
    pub field: Option<String>,
    /// What is wrong with it.
    pub detail: Option<String>,
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        Self { reason, field: None, detail: None }
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The next gate, please.
    Passed,
    /// The end for this candidate.
    Refused,
}

macro_rules! refusals {
    ($($name:ident = $word:literal at $gate:ident: $plain:literal;)*) => {
        /// Why a candidate was refused: stable words, part of the contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum Refusal {
            $(#[doc = $plain] #[serde(rename = $word)] $name,)*
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable word.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The gate that says it.
            pub fn gate(self) -> Gate {
                match self { $(Self::$name => Gate::$gate,)* }
            }

            /// In words for the person whom it concerns.
            pub fn plain(self) -> &'static str {
                match self { $(Self::$name => $plain,)* }
            }
        }
    };
}

refusals! {
    Closed = "closed" at Window: "It would have reached you after the moment had passed.";
    DeliverBy = "deliver_by" at Window: "It would have reached you after the time until which it was of use.";
    BelowMinValue = "below_min_value" at Window: "Too much of the moment had passed for it to be worth your attention.";
    NotInAudience = "not_in_audience" at Audience: "It was not meant for you.";
    NoMatchingDevice = "no_matching_device" at Audience: "It was not meant for any of your devices.";
    MissingProperty = "missing_property" at Audience: "Something that decides whom it is for is not known about you or the moment.";
    TypeError = "type_error" at Audience: "The rule that says whom it is for could not be applied.";
    BadValue = "bad_value" at Audience: "The rule that says whom it is for could not be worked out.";
    NotGranted = "not_granted" at Consent: "You have not agreed to messages of this purpose.";
    Withdrawn = "withdrawn" at Consent: "You withdrew your consent to messages of this purpose.";
    AskAgain = "ask_again" at Consent: "The text that you agreed to has changed, and you were not asked again yet.";
    Expired = "expired" at Consent: "The time for which you agreed to messages of this purpose is over.";
    AgeGate = "age_gate" at Consent: "You are not of the age at which people agree for themselves, or have not said so.";
    UnknownPurpose = "unknown_purpose" at Consent: "Its purpose is not known.";
    AccountDisabled = "account_disabled" at Consent: "Your account is disabled.";
    TopicOff = "topic_off" at Preference: "This topic is switched off in your preferences.";
    UnknownTopic = "unknown_topic" at Preference: "Its topic is not known.";
    ChannelOff = "channel_off" at Preference: "Push messages are switched off in your preferences.";
    Paused = "paused" at Preference: "You paused messages.";
    NoDevice = "no_device" at Reachable: "You have no device that it could go to.";
    NoToken = "no_token" at Reachable: "None of your devices can receive pushes at present.";
    NoPermission = "no_permission" at Reachable: "None of your devices may show messages.";
    QuietUntilTooLate = "quiet_until_too_late" at QuietHours: "You were in your quiet hours, and afterwards it would have been too late.";
    QuietBelowMinValue = "quiet_below_min_value" at QuietHours: "You were in your quiet hours, and afterwards it would not have been worth your attention.";
    CampaignCap = "campaign_cap" at Cap: "You have heard enough of this already.";
    CategoryCap = "category_cap" at Cap: "You have heard enough of this kind already.";
    OverallCap = "overall_cap" at Cap: "You have had enough messages already.";
    UserFrequency = "user_frequency" at Cap: "You asked not to hear from us more often.";
    MinGap = "min_gap" at Cap: "It was too close to another message.";
    OutOfStock = "out_of_stock" at Stock: "Nothing was left of it.";
    TemplateFailed = "template_failed" at Message: "Its words could not be made.";
    PayloadTooLarge = "payload_too_large" at Message: "Its words were too long for a push.";
}

impl From<RuleFailure> for Refusal {
    fn from(failure: RuleFailure) -> Self {
        match failure {
            RuleFailure::MissingProperty(_) => Self::MissingProperty,
            RuleFailure::TypeError(_) => Self::TypeError,
            RuleFailure::BadValue(_) => Self::BadValue,
        }
    }
}

impl From<consent::Reason> for Refusal {
    fn from(reason: consent::Reason) -> Self {
        match reason {
            consent::Reason::NotGranted => Self::NotGranted,
            consent::Reason::Withdrawn => Self::Withdrawn,
            consent::Reason::AskAgain => Self::AskAgain,
            consent::Reason::Expired => Self::Expired,
            consent::Reason::AgeGate => Self::AgeGate,
            consent::Reason::UnknownPurpose => Self::UnknownPurpose,
            consent::Reason::AccountDisabled => Self::AccountDisabled,
        }
    }
}

//! The small words of a push: badge, level, urgency, keys of translations.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Highest number on an icon.
pub const BADGE_MAX: u32 = 1_000_000;

/// What becomes of the number on the app's icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PushBadge)]
pub enum Badge {
    /// It is this number from now on.
    Set(u32),
    /// So many more than the server knows of for the device.
    Increment(u32),
    /// It is gone.
    Clear,
}

impl Badge {
    /// The number to show, once it is known.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Set(number) => Some(number),
            Self::Clear => Some(0),
            Self::Increment(_) => None,
        }
    }
}

words! {
    /// How much a push may interrupt.
    #[schema(as = PushInterruptionLevel)]
    InterruptionLevel {
        /// Into the list, without light or sound.
        Passive = "passive",
        /// At once.
        Active = "active",
        /// Through a focus or a summary, if the app may.
        TimeSensitive = "time-sensitive",
        /// Through everything, if Apple lets the app.
        Critical = "critical",
    }
}

words! {
    /// How urgent a push is.
    #[schema(as = PushPriority)]
    Priority {
        /// At once: wakes a sleeping phone.
        High = "high",
        /// When it costs little.
        Normal = "normal",
    }
}

/// Words out of the app's own translations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushKey)]
pub struct Localised {
    /// The key: of `Localizable.strings` at Apple's, of the string resources at Google's.
    #[schema(min_length = 1, max_length = 200)]
    pub key: String,
    /// What takes the places of its placeholders, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub args: Vec<String>,
}

/// A share: 0 to 1. Compared by its bits.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Share(f64);

impl Share {
    /// All of it.
    pub const ONE: Self = Self(1.0);

    /// A share; none outside 0 to 1.
    pub fn new(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> f64 {
        self.0
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Share {}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(d)?).ok_or_else(|| serde::de::Error::custom("must be 0 to 1"))
    }
}

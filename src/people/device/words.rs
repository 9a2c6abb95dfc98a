//! The words of a device: in which world its token is good, and whether its user lets pushes through.

use serde::{Deserialize, Serialize};

/// Which of a gateway's worlds a token belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Apps from the store.
    #[default]
    Production,
    /// Apps under development.
    Sandbox,
}

impl Environment {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }

    /// The one that it is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }

    /// The environment behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Production, Self::Sandbox].into_iter().find(|e| e.name() == word)
    }
}

/// What the operating system lets the app show. It is a capability, not consent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushPermission {
    /// Everything.
    Granted,
    /// Nothing.
    Denied,
    /// Quietly, in the notification centre alone.
    Provisional,
    /// The person has not been asked.
    #[default]
    NotDetermined,
}

impl PushPermission {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Provisional => "provisional",
            Self::NotDetermined => "not_determined",
        }
    }

    /// The permission behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Granted, Self::Denied, Self::Provisional, Self::NotDetermined].into_iter().find(|p| p.name() == word)
    }

    /// Whether a push would be shown.
    pub fn shows(self) -> bool {
        match self {
            Self::Granted | Self::Provisional => true,
            Self::Denied | Self::NotDetermined => false,
        }
    }
}

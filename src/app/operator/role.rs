//! What an operator may do, by role: a closed table (pure).

use crate::app::scope::{Scope, Scopes};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// What an operator is in an app; each may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schema(as = OperatorRole)]
pub enum Role {
    /// Reads what the app does.
    Viewer,
    /// Edits what may be said: moment kinds, offers, drafts of campaigns.
    Marketer,
    /// Publishes, pauses and ends campaigns, sends and cancels pushes.
    Publisher,
    /// Everything but operators.
    Developer,
    /// Everything.
    Owner,
}

impl Role {
    /// Every role, from the least to the greatest.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Marketer, Self::Publisher, Self::Developer, Self::Owner];

    /// What it may do.
    pub fn scopes(self) -> Scopes {
        Scope::ALL.iter().copied().filter(|scope| least(*scope) <= self).collect()
    }

    /// The role's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Marketer => "marketer",
            Self::Publisher => "publisher",
            Self::Developer => "developer",
            Self::Owner => "owner",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| Error::broken("a stored operator has an unknown role"))
    }
}

/// The least role that has a right. A new right has to be placed here.
fn least(scope: Scope) -> Role {
    match scope {
        Scope::AppRead
        | Scope::SchemaRead
        | Scope::UsersRead
        | Scope::EventsRead
        | Scope::ThingsRead
        | Scope::PlacesRead
        | Scope::CampaignsRead
        | Scope::PartnersRead
        | Scope::DecisionsRead => Role::Viewer,
        Scope::CampaignsWrite => Role::Marketer,
        Scope::CampaignsPublish | Scope::PushWrite => Role::Publisher,
        Scope::AppWrite
        | Scope::KeysRead
        | Scope::KeysWrite
        | Scope::SchemaWrite
        | Scope::UsersWrite
        | Scope::UsersImpersonate
        | Scope::EventsWrite
        | Scope::ThingsWrite
        | Scope::PlacesWrite
        | Scope::PartnersWrite
        | Scope::CredentialsRead
        | Scope::CredentialsWrite
        | Scope::WebhooksRead
        | Scope::WebhooksWrite
        | Scope::AuditRead => Role::Developer,
        Scope::OperatorsRead | Scope::OperatorsWrite => Role::Owner,
    }
}

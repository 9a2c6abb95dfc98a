//! What a server key or an operator may do: a closed list.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The scopes of one key or role.
pub type Scopes = BTreeSet<Scope>;

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $wire:literal,)*) => {
        /// One right of a server key or a role.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum Scope {
            $($(#[$doc])* #[serde(rename = $wire)] $name,)*
        }

        impl Scope {
            /// Every scope there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The scope's name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }
        }
    };
}

scopes! {
    /// Read settings.
    AppRead = "app:read",
    /// Change settings.
    AppWrite = "app:write",
    /// List keys.
    KeysRead = "keys:read",
    /// Make, rotate and revoke keys.
    KeysWrite = "keys:write",
    /// Read attributes, topics, purposes and event types.
    SchemaRead = "schema:read",
    /// Declare attributes, topics, purposes and event types.
    SchemaWrite = "schema:write",
    /// Read users, their consents, preferences and devices.
    UsersRead = "users:read",
    /// Create and change users.
    UsersWrite = "users:write",
    /// Act as a user, to see what they see.
    UsersImpersonate = "users:impersonate",
    /// Read events and what became of them.
    EventsRead = "events:read",
    /// Send events.
    EventsWrite = "events:write",
    /// Read things and their links.
    ThingsRead = "things:read",
    /// Create, change and link things.
    ThingsWrite = "things:write",
    /// Read places.
    PlacesRead = "places:read",
    /// Create, change and delete places.
    PlacesWrite = "places:write",
    /// Read moment kinds, offers and campaigns.
    CampaignsRead = "campaigns:read",
    /// Create and change moment kinds, offers and drafts of campaigns.
    CampaignsWrite = "campaigns:write",
    /// Publish, pause, resume and end campaigns.
    CampaignsPublish = "campaigns:publish",
    /// Read partners and their keys.
    PartnersRead = "partners:read",
    /// Create partners, make and revoke their keys.
    PartnersWrite = "partners:write",
    /// Read webhooks of the app and of partners, and their deliveries.
    WebhooksRead = "webhooks:read",
    /// Create, change, test, replay and delete webhooks of the app and of partners.
    WebhooksWrite = "webhooks:write",
    /// Read decisions and messages.
    DecisionsRead = "decisions:read",
    /// See which gateway credentials are stored.
    CredentialsRead = "credentials:read",
    /// Store and delete gateway credentials.
    CredentialsWrite = "credentials:write",
    /// Send direct pushes, cancel messages and take them back.
    PushWrite = "push:write",
    /// List operators and their roles.
    OperatorsRead = "operators:read",
    /// Invite operators, change their roles, end their sessions.
    OperatorsWrite = "operators:write",
    /// Read and check the audit log.
    AuditRead = "audit:read",
}

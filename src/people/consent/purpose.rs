//! Purposes: on what basis, in which text version, and from which version on people have to be asked again. Pure.

use super::text::Text;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A user's fixes are stored and evaluated only under this purpose.
pub const LOCATION: &str = "location";
/// A partner's event about a user, or a link that it made, is matched only under this purpose × that partner.
pub const PARTNER_EVENTS: &str = "partner_events";
/// The text version that built-in purposes have until the app publishes its own.
pub const BUILT_IN_VERSION: &str = "1";

/// A purpose that every app has.
pub struct BuiltIn {
    /// Its key.
    pub key: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its English text.
    pub text: &'static str,
    /// What of a person it is about.
    pub personal_data: &'static str,
    /// Whether it sells or shares.
    pub sale_or_share: bool,
}

/// The purposes that every app has without declaring them.
pub const BUILT_IN: [BuiltIn; 2] = [
    BuiltIn {
        key: LOCATION,
        name: "Location",
        text: "This app may use where your phone is to tell you about what is near you.",
        personal_data: "location",
        sale_or_share: false,
    },
    BuiltIn {
        key: PARTNER_EVENTS,
        name: "Partner events",
        text: "This app may match what this partner tells it about your visit or booking with your profile.",
        personal_data: "visits and bookings",
        sale_or_share: true,
    },
];

/// On what a purpose rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The person's consent.
    Consent,
    /// The contract with the person; a partner's offer needs consent all the same.
    Contract,
}

impl Basis {
    /// The word for it in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
        }
    }
}

/// A published text version, without its texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its name.
    pub version: String,
    /// Whether grants for older versions stop to count.
    pub re_ask: bool,
}

/// One purpose, as far as the law reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// On what it rests.
    pub basis: Basis,
    /// Its text versions, oldest first; never empty.
    pub versions: Vec<Version>,
}

impl Purpose {
    /// The version that has to be shown now.
    pub fn current(&self) -> &str {
        self.versions.last().map_or("", |v| v.version.as_str())
    }

    /// Whether this version was ever published.
    pub fn knows(&self, version: &str) -> bool {
        self.versions.iter().any(|v| v.version == version)
    }

    /// Whether a grant for this version still counts: no version to be asked again came after it.
    pub fn counts(&self, version: Option<&str>) -> bool {
        let since = self.versions.iter().rposition(|v| v.re_ask).unwrap_or(0);
        version.is_some_and(|name| self.versions.iter().skip(since).any(|v| v.version == name))
    }
}

/// All purposes of an app, by key, the built-in ones included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Purposes(BTreeMap<String, Purpose>);

impl Purposes {
    /// The purposes that an app declared, and the built-in ones.
    pub fn new(declared: impl IntoIterator<Item = (String, Purpose)>) -> Self {
        let mut all = BTreeMap::new();
        for built_in in &BUILT_IN {
            let first = Version { version: BUILT_IN_VERSION.to_owned(), re_ask: false };
            all.insert(built_in.key.to_owned(), Purpose { basis: Basis::Consent, versions: vec![first] });
        }
        for (key, purpose) in declared {
            match all.get_mut(&key) {
                // The app publishes its own texts of a built-in purpose; its basis stays.
                Some(known) => known.versions.extend(purpose.versions),
                None => {
                    all.insert(key, purpose);
                }
            }
        }
        Self(all)
    }

    /// One purpose.
    pub fn get(&self, key: &str) -> Option<&Purpose> {
        self.0.get(key)
    }
}

/// A declared purpose without its texts.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its key.
    pub key: String,
    /// Its name, for people.
    pub name: String,
    /// On what it rests.
    pub basis: Basis,
    /// When it was declared.
    pub created_ms: i64,
    /// What else is known of it.
    pub class: Class,
}

/// What kind of purpose it is: for receipts and signals, not for the law.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// Purpose classes of the Data Privacy Vocabulary, out of [`CATEGORIES`].
    pub categories: BTreeSet<String>,
    /// The kinds of personal data that it is about.
    pub personal_data: BTreeSet<String>,
    /// Whether it sells personal data or shares them with others.
    pub sale_or_share: bool,
}

/// The purpose classes of the W3C Data Privacy Vocabulary (`https://w3id.org/dpv#…`) that a purpose may be mapped to.
pub const CATEGORIES: [&str; 21] = [
    "CommunicationForCustomerCare",
    "FraudPreventionAndDetection",
    "IdentityVerification",
    "LegalCompliance",
    "PersonalisedAdvertising",
    "PublicBenefit",
    "RequestedServiceProvision",
    "ResearchAndDevelopment",
    "RightsFulfilment",
    "SellDataToThirdParties",
    "SellInsightsFromData",
    "ServiceMonitoring",
    "ServiceOptimisation",
    "ServicePersonalisation",
    "ServiceProvision",
    "ServiceRegistration",
    "ServiceUsageAnalytics",
    "SocialMediaMarketing",
    "TargetedAdvertising",
    "TechnicalServiceProvision",
    "UserInterfacePersonalisation",
];

impl BuiltIn {
    /// As if the app had declared it.
    pub(super) fn declared(&self) -> Declared {
        let class = Class {
            categories: BTreeSet::from(["ServicePersonalisation".to_owned()]),
            personal_data: BTreeSet::from([self.personal_data.to_owned()]),
            sale_or_share: self.sale_or_share,
        };
        Declared { key: self.key.to_owned(), name: self.name.to_owned(), basis: Basis::Consent, created_ms: 0, class }
    }

    /// Its own text.
    pub(super) fn text(&self) -> Text {
        Text {
            purpose: self.key.to_owned(),
            version: BUILT_IN_VERSION.to_owned(),
            texts: BTreeMap::from([("en".to_owned(), self.text.to_owned())]),
            re_ask: false,
            published_ms: 0,
            valid_ms: None,
            jurisdictions: BTreeMap::new(),
        }
    }
}

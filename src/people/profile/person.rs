//! A user as gates, rules and templates read them, a user to be made, and a change of one.

use super::attribute::Writer;
use super::check_external_id;
use super::preference::Preferences;
use super::write::{Declared, Writes, apply};
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::people::check;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A user with everything that gates, rules and templates read of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// Their id.
    pub id: UserId,
    /// The name by which another system knows them.
    pub external_id: Option<String>,
    /// Whether they have not signed up yet.
    pub anonymous: bool,
    /// Typed attributes.
    pub attributes: Map<String, Value>,
    /// The language that they chose.
    pub locale: Option<String>,
    /// The time zone that they chose.
    pub time_zone: Option<String>,
    /// What local times of theirs mean: the zone chosen, else the latest device's, else '' for the app's.
    pub zone: String,
    /// Whether they may not sign in.
    pub disabled: bool,
    /// What they wish to hear.
    pub preferences: Preferences,
    /// How often the profile was changed; preferences have their own.
    pub revision: i64,
    /// When they came.
    pub created_ms: i64,
    /// When the profile was changed last.
    pub updated_ms: i64,
}

impl Person {
    /// The names of the fields in which this profile differs from an earlier state of it.
    pub(super) fn differs_from(&self, before: &Self) -> Vec<String> {
        let fields = [
            ("external_id", self.external_id != before.external_id),
            ("locale", self.locale != before.locale),
            ("time_zone", self.time_zone != before.time_zone),
        ];
        let keys: BTreeSet<&String> = self.attributes.keys().chain(before.attributes.keys()).collect();
        let changed = keys.into_iter().filter(|key| self.attributes.get(*key) != before.attributes.get(*key));
        let fields = fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned());
        fields.chain(changed.map(|key| format!("attributes.{key}"))).collect()
    }

    /// The zone that they chose for quiet hours, if any: that of the quiet hours, else that of the profile.
    pub fn chosen_zone(&self) -> Option<&str> {
        self.preferences.chosen_zone(self.time_zone.as_deref())
    }
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their id.
    pub id: UserId,
    /// The name by which another system knows them.
    pub external_id: Option<String>,
    /// Whether they have not signed up.
    pub anonymous: bool,
    /// Typed attributes.
    pub attributes: Map<String, Value>,
    /// Language.
    pub locale: Option<String>,
    /// Time zone.
    pub time_zone: Option<String>,
    /// Now.
    pub now_ms: i64,
}

impl NewUser {
    /// A user of whom nothing is known yet.
    pub fn bare(id: UserId, anonymous: bool, now_ms: i64) -> Self {
        Self { id, external_id: None, anonymous, attributes: Map::new(), locale: None, time_zone: None, now_ms }
    }

    /// What the app's back end brings in is written by it.
    pub(super) fn checked(&self, declared: &Declared) -> Result<Self> {
        if let Some(external_id) = &self.external_id {
            check_external_id(external_id)?;
        }
        if let Some(locale) = &self.locale {
            check::locale("locale", locale)?;
        }
        let time_zone = self.time_zone.as_deref().map(|zone| check::zone("time_zone", zone)).transpose()?;
        let writes = Writes::patch(self.attributes.clone());
        let attributes = apply(declared, Writer::Server, &Map::new(), &writes).map_err(Error::invalid_fields)?;
        Ok(Self { attributes, time_zone, ..self.clone() })
    }
}

/// A change of a profile: what is absent stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// What is written into the attributes.
    pub writes: Writes,
    /// Who writes it.
    pub by: Writer,
    /// A language, or none.
    pub locale: Option<Option<String>>,
    /// A time zone, or none.
    pub time_zone: Option<Option<String>>,
    /// An external id, or none.
    pub external_id: Option<Option<String>>,
    /// Now.
    pub now_ms: i64,
}

//! What a user wishes to hear, when and how often; preferences are no consent. Pure.

use crate::app::{Cap, QuietHours, TimeOfDay};
use crate::clock::{HOUR_MS, Time};
use crate::error::{Error, FieldError, Result};
use crate::http::{given, unique_keys};
use crate::people::check;
use crate::people::consent::Channel;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most messages in a user's own frequency.
const FREQUENCY_LIMIT: u32 = 1_000;
/// Longest window of a user's own frequency: 31 days.
const FREQUENCY_WINDOW_LIMIT_MS: i64 = 31 * 24 * HOUR_MS;

/// A subject on which messages are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its key.
    pub key: String,
    /// Its name, for people.
    pub name: String,
    /// Whether it is on for those who said nothing.
    pub default_on: bool,
    /// Whether it is fixed: it cannot be switched off.
    pub critical: bool,
    /// When it was declared.
    pub created_ms: i64,
}

/// The topics of an app, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics(pub BTreeMap<String, Topic>);

impl Topics {
    /// Whether a topic is on for a user; nothing when there is no such topic.
    pub fn on(&self, key: &str, preferences: &Preferences) -> Option<bool> {
        let topic = self.0.get(key)?;
        Some(topic.critical || preferences.topics.get(key).copied().unwrap_or(topic.default_on))
    }
}

/// Quiet time that a user chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietTime {
    /// First quiet minute, by wall clock.
    pub from: TimeOfDay,
    /// First minute that is no longer quiet; the same as `from` for no quiet time at all.
    pub to: TimeOfDay,
    /// The IANA zone of that clock; without it the zone chosen in the profile, else each device's, else the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl QuietTime {
    /// The hours without the zone.
    pub fn hours(&self) -> QuietHours {
        QuietHours { from: self.from, to: self.to }
    }
}

/// A user's preferences. What the user never said is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Topics switched on or off.
    pub topics: BTreeMap<String, bool>,
    /// Channels switched on or off; those not named are on.
    pub channels: BTreeMap<Channel, bool>,
    /// Quiet time; without it the app's default.
    pub quiet_hours: Option<QuietTime>,
    /// How often at most.
    pub frequency: Option<Cap>,
    /// Nothing before this time.
    pub pause_until_ms: Option<i64>,
    /// How often they were changed.
    pub revision: i64,
}

/// A change of preferences: what it does not name stays as it is.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferencesPatch {
    /// Topics to switch on or off; `null` goes back to the topic's default.
    #[serde(default, deserialize_with = "unique_keys")]
    pub topics: BTreeMap<String, Option<bool>>,
    /// Channels to switch on or off; `null` goes back to on.
    #[serde(default, deserialize_with = "unique_keys")]
    #[schema(value_type = BTreeMap<String, Option<bool>>)]
    pub channels: BTreeMap<Channel, Option<bool>>,
    /// `null` goes back to the app's default.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<QuietTime>)]
    pub quiet_hours: Option<Option<QuietTime>>,
    /// At most `limit` messages in any `window_ms`; `null` for no limit of one's own.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Cap>)]
    pub frequency: Option<Option<Cap>>,
    /// Nothing before this time; `null` ends the pause.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Time>)]
    pub pause_until: Option<Option<Time>>,
}

impl Preferences {
    /// Whether a channel is on.
    pub fn channel_on(&self, channel: Channel) -> bool {
        self.channels.get(&channel).copied().unwrap_or(true)
    }

    /// The zone that the user chose for quiet hours, if any: that of the quiet hours, else that of the profile.
    pub fn chosen_zone<'a>(&'a self, of_profile: Option<&'a str>) -> Option<&'a str> {
        self.quiet_hours.as_ref().and_then(|quiet| quiet.zone.as_deref()).or(of_profile)
    }

    /// These preferences with a change made.
    ///
    /// # Errors
    /// 400 that names every field at fault; nothing is changed then.
    pub fn changed(&self, topics: &Topics, patch: PreferencesPatch) -> Result<Self> {
        let mut new = self.clone();
        let mut faults = Vec::new();
        for (key, choice) in patch.topics {
            match topics.0.get(&key) {
                None => faults.push(fault(&key, "unknown", "this app has no such topic")),
                Some(topic) if topic.critical && choice == Some(false) => {
                    faults.push(fault(&key, "fixed", "this topic carries service messages and cannot be switched off"));
                }
                Some(_) => set(&mut new.topics, key, choice),
            }
        }
        if !faults.is_empty() {
            return Err(Error::invalid_fields(faults));
        }
        for (channel, choice) in patch.channels {
            set(&mut new.channels, channel, choice);
        }
        if let Some(quiet) = patch.quiet_hours {
            new.quiet_hours = quiet.map(checked_quiet).transpose()?;
        }
        if let Some(frequency) = patch.frequency {
            new.frequency = frequency.map(checked_frequency).transpose()?;
        }
        if let Some(pause) = patch.pause_until {
            new.pause_until_ms = pause.map(|time| time.0);
        }
        Ok(new)
    }
}

fn set<K: Ord>(map: &mut BTreeMap<K, bool>, key: K, choice: Option<bool>) {
    match choice {
        Some(on) => drop(map.insert(key, on)),
        None => drop(map.remove(&key)),
    }
}

fn fault(key: &str, code: &'static str, message: &str) -> FieldError {
    let field = format!("topics.{}", key.chars().take(64).collect::<String>());
    FieldError { field, code, message: message.to_owned() }
}

fn checked_quiet(quiet: QuietTime) -> Result<QuietTime> {
    let zone = quiet.zone.as_deref().map(|zone| check::zone("quiet_hours.zone", zone)).transpose()?;
    Ok(QuietTime { zone, ..quiet })
}

fn checked_frequency(cap: Cap) -> Result<Cap> {
    if !(1..=FREQUENCY_LIMIT).contains(&cap.limit) {
        let message = format!("must be 1 to {FREQUENCY_LIMIT}; to hear nothing switch the channel off");
        return Err(Error::invalid("frequency.limit", "out_of_range", message));
    }
    if !(HOUR_MS..=FREQUENCY_WINDOW_LIMIT_MS).contains(&cap.window_ms) {
        let message = format!("must be {HOUR_MS} (an hour) to {FREQUENCY_WINDOW_LIMIT_MS} (31 days)");
        return Err(Error::invalid("frequency.window_ms", "out_of_range", message));
    }
    Ok(cap)
}

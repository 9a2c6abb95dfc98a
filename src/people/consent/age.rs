//! The age gate: from when on a person is of age, and whether they may consent for themselves. Pure.

use crate::app::AgeGate;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Whether a user may consent for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Age {
    /// The app does not ask.
    #[default]
    NotAsked,
    /// From this time on, UTC milliseconds.
    From(i64),
    /// Nobody has said how old they are, or only by a lower minimum than the present one.
    Unstated,
}

/// What was said of a user's age. No birth date is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Under which jurisdiction.
    pub jurisdiction: Option<String>,
    /// The minimum there, in years, when it was said.
    pub minimum_years: i64,
    /// From when on they are of age by it; of those who were already, the time of the statement.
    pub of_age_ms: i64,
    /// When it was said.
    pub stated_ms: i64,
}

impl Age {
    /// Whether they may consent for themselves now.
    pub fn reached(self, now_ms: i64) -> bool {
        match self {
            Self::NotAsked => true,
            Self::From(at_ms) => at_ms <= now_ms,
            Self::Unstated => false,
        }
    }

    /// What a statement is worth at the gate as it is now.
    pub fn at(gate: &AgeGate, stated: Option<&Stated>) -> Self {
        match stated {
            Some(said) if said.minimum_years >= gate.minimum(said.jurisdiction.as_deref()) => Self::From(said.of_age_ms),
            Some(_) | None => Self::Unstated,
        }
    }
}

/// When somebody comes of age: at the beginning of the birthday in this zone, whoever is born on 29 February on 1 March
/// where the year has none. None for a date that nobody alive can have been born on.
pub fn of_age_ms(birth: Date, years: i64, zone: &TimeZone, now_ms: i64) -> Option<i64> {
    let today = zone.to_datetime(jiff::Timestamp::from_millisecond(now_ms).ok()?).date();
    if birth > today || i64::from(today.year()) - i64::from(birth.year()) > 130 {
        return None;
    }
    let birthday = birth.checked_add(years.years()).ok()?;
    let birthday = if birthday.day() == birth.day() { birthday } else { birthday.tomorrow().ok()? };
    let begins = birthday.to_zoned(zone.clone()).ok()?;
    Some(begins.timestamp().as_millisecond())
}

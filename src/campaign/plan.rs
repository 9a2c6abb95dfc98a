//! A campaign: which offers, who, and when.

use super::check::{Check, NAME_CHARS_MAX, SPAN_MS_MAX};
use crate::app::Cap;
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Result};
use crate::id::OfferId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Most offers of one campaign.
const OFFERS_MAX: usize = 100;
/// Most caps of one campaign.
const CAPS_MAX: usize = 5;

/// Offers, who and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// What competes.
    #[schema(min_items = 1, max_items = 100)]
    pub offers: Vec<OfferId>,
    /// When.
    pub trigger: Start,
    /// A rule over `user, device, event, moment, place, thing` that must be true for every offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How many messages of it one user may get, per rolling window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 5)]
    pub caps: Vec<Cap>,
    /// Which of a user's devices get it.
    #[serde(default)]
    pub devices: Devices,
    /// What happens to a message whose fate is not known after a crash or a cut connection.
    #[serde(default)]
    pub mode: Mode,
}

/// When a campaign speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignTrigger)]
pub enum Start {
    /// Whenever a moment of the kind with this key opens.
    Moment(String),
    /// Once, for everybody in the audience.
    Schedule(Schedule),
}

/// When a scheduled campaign speaks, and for how long it is worth saying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CampaignSchedule)]
pub struct Schedule {
    /// The time.
    pub when: When,
    /// How long after its time it may still be handed over, in milliseconds; a day by default.
    #[serde(default = "a_day")]
    #[schema(minimum = 1000)]
    pub window_ms: i64,
}

fn a_day() -> i64 {
    DAY_MS
}

/// The time of a scheduled campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ScheduleTime)]
pub enum When {
    /// At one instant.
    At(Time),
    /// When a wall clock in each user's zone shows this.
    Local(LocalTime),
}

/// A date and a time of day without a zone: `2026-12-24T18:30:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime(jiff::civil::DateTime);

impl LocalTime {
    /// Reads `YYYY-MM-DDThh:mm` or `YYYY-MM-DDThh:mm:ss`, years 1970 to 2199.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        const WRONG: &str = "expected a local time such as 2026-12-24T18:30:00, without a zone";
        let shape = match text.len() {
            16 => &b"dddd-dd-ddTdd:dd"[..],
            19 => &b"dddd-dd-ddTdd:dd:dd"[..],
            _ => return Err(WRONG),
        };
        let fits = |(b, s): (u8, &u8)| if *s == b'd' { b.is_ascii_digit() } else { b == *s };
        if !text.bytes().zip(shape).all(fits) {
            return Err(WRONG);
        }
        let time: jiff::civil::DateTime = text.parse().map_err(|_| WRONG)?;
        if !(1970..2200).contains(&time.year()) {
            return Err("the year lies outside 1970 to 2199");
        }
        Ok(Self(time))
    }

    /// The instant at which a clock in this zone shows it, in UTC milliseconds. In the hour that spring skips it is the
    /// instant as if the clocks had not changed; of the hour that autumn repeats it is the first pass.
    ///
    /// # Errors
    /// When the zone is not known.
    pub fn due_ms(self, zone: &str) -> Result<i64> {
        let zone = jiff::tz::TimeZone::get(zone).map_err(|_| Error::invalid("time_zone", "invalid", "is no IANA time zone"))?;
        Ok(zone.to_ambiguous_zoned(self.0).compatible().map_err(Error::broken)?.timestamp().as_millisecond())
    }
}

impl std::fmt::Display for LocalTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for LocalTime {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LocalTime {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for LocalTime {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$"))
            .into()
    }
}

impl ToSchema for LocalTime {}

/// Which of a user's devices get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignDevices)]
pub enum Devices {
    /// Every one that the gates keep.
    #[default]
    All,
    /// The one that was last seen.
    LastActive,
}

/// What happens to a message whose fate is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryMode)]
pub enum Mode {
    /// It ends as `unknown` and is not sent again.
    #[default]
    AtMostOnce,
    /// It is sent again under the same ids, so that a phone shows it once.
    AtLeastOnce,
}

/// Where a campaign is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CampaignStatus)]
pub enum Status {
    /// Being written; may be changed and deleted.
    Draft,
    /// Speaking.
    Live,
    /// Silent for now.
    Paused,
    /// Silent for good.
    Ended,
}

impl Status {
    /// Its name in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }

    /// Reads its name.
    ///
    /// # Errors
    /// When there is no such status.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Draft, Self::Live, Self::Paused, Self::Ended]
            .into_iter()
            .find(|status| status.name() == name)
            .ok_or_else(|| Error::invalid("status", "invalid", "must be draft, live, paused or ended"))
    }
}

impl Campaign {
    /// The kind of moment that triggers it, if one does.
    pub fn kind(&self) -> Option<&str> {
        match &self.trigger {
            Start::Moment(kind) => Some(kind),
            Start::Schedule(_) => None,
        }
    }

    /// Checks everything that needs no look into the database. The rule is compiled elsewhere.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub fn check(&self) -> Result<()> {
        let mut check = Check::default();
        check.words("name", &self.name, NAME_CHARS_MAX);
        check.count("offers", self.offers.len(), 1..=OFFERS_MAX);
        let mut seen = BTreeSet::new();
        for (n, offer) in self.offers.iter().enumerate() {
            if !seen.insert(offer) {
                check.refuse(format!("offers[{n}]"), "duplicate", "this offer is listed already");
            }
        }
        match &self.trigger {
            Start::Moment(kind) => check.key("trigger.moment", kind),
            Start::Schedule(schedule) => check.range("trigger.schedule.window_ms", schedule.window_ms, 1_000..=SPAN_MS_MAX),
        }
        check.count("caps", self.caps.len(), 0..=CAPS_MAX);
        for (n, cap) in self.caps.iter().enumerate() {
            check.range(format!("caps[{n}].limit"), cap.limit, 1..=1_000);
            check.range(format!("caps[{n}].window_ms"), cap.window_ms, 1_000..=SPAN_MS_MAX);
        }
        check.finish()
    }
}

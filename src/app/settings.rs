//! An app's settings: every one has a default, all are served and patched at `/v1/app`.

use super::legal::{AgeGate, Controller, check_jurisdiction};
use super::passkeys::Passkeys;
use crate::clock::{DAY_MS, HOUR_MS};
use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// Most origins an app may list.
const ORIGINS_MAX: usize = 50;
/// Most caps in one list.
const CAPS_MAX: usize = 10;
/// Most categories with caps of their own.
const CATEGORIES_MAX: usize = 50;
/// Shortest limit of a session, in milliseconds: ten minutes, the life of an access token.
const SESSION_MIN_MS: i64 = 600_000;
/// Shortest time for which a question stays the same, in milliseconds.
const QUESTION_COOL_DOWN_MIN_MS: i64 = 60_000;
/// Longest window, gap or retention, in milliseconds: one year.
const SPAN_MAX_MS: i64 = 366 * DAY_MS;

/// How long events and decisions are kept when the app does not say, in milliseconds: thirteen months, so that a season can
/// be compared with the last one.
const KEPT_MS: i64 = 396 * DAY_MS;
/// Longest time for which events and decisions may be kept, in milliseconds: ten years.
const KEPT_MAX_MS: i64 = 3_653 * DAY_MS;
/// Shortest time for which events are kept, in milliseconds: for so long a duplicate is known as one.
const EVENTS_MIN_MS: i64 = 7 * DAY_MS;
/// Shortest time for which decisions are kept, in milliseconds: the longest window of a user's own frequency.
const DECISIONS_MIN_MS: i64 = 31 * DAY_MS;
/// Longest time in which an erasure can be undone, in milliseconds: it must be done within a month.
const UNDO_MAX_MS: i64 = 28 * DAY_MS;

/// An app's settings, as stored and served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
#[schema(as = AppSettings)]
pub struct Settings {
    /// IANA name of the zone in which local times are read when neither user nor device has one.
    pub time_zone: String,
    /// ISO 4217 code of the currency of every value.
    pub currency: String,
    /// BCP 47 tag of the language of last resort.
    pub locale: String,
    /// Origins whose web pages may call with this app's publishable key, e.g. `https://shop.example`.
    pub cors_origins: BTreeSet<String>,
    /// How many messages a user gets at most.
    pub caps: Caps,
    /// Least time between two messages to a user, in milliseconds; 0: none.
    pub min_gap_ms: i64,
    /// Quiet time of users who chose none; absent: none.
    pub quiet_hours: Option<QuietHours>,
    /// How long raw positions are kept, in milliseconds.
    pub location_retention_ms: i64,
    /// How long events are kept, in milliseconds; what is asked of an event's id (duplicates) is known as long.
    pub event_retention_ms: i64,
    /// How long decisions, their messages and receipts are kept, in milliseconds. A cap looks back no further.
    pub decision_retention_ms: i64,
    /// How long an erasure waits in which it can be undone, in milliseconds; 0: it is done at once.
    pub erasure_undo_ms: i64,
    /// How long a session may live from its sign-in, in milliseconds; absent: as long as it is used.
    pub session_life_ms: Option<i64>,
    /// How long a session may live without a refresh, in milliseconds; absent: the server's `refresh_token_life_days`,
    /// which is never exceeded.
    pub session_idle_ms: Option<i64>,
    /// Fewest characters of a new password, 8 to 64. NIST SP 800-63B wants 15 where a password is all there is, 8 with a
    /// second factor.
    pub password_chars_min: u32,
    /// The relying party of passkeys; absent: users have none.
    pub passkeys: Option<Passkeys>,
    /// Least time between two questions to a user about their profile, in milliseconds.
    pub question_cool_down_ms: i64,
    /// How long a question that a user passed over is not asked again, in milliseconds; after three times never.
    pub question_skip_ms: i64,
    /// The jurisdiction under which choices are made that name none: a country (`DE`) or a part of one (`US-CA`).
    pub jurisdiction: Option<String>,
    /// From which age on people consent for themselves; absent: the app does not ask.
    pub age_gate: Option<AgeGate>,
    /// Who answers for the personal data, for receipts; absent: the app's name stands for it.
    pub controller: Option<Controller>,
}

/// Rolling caps per user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Over everything.
    #[serde(default)]
    pub overall: Vec<Cap>,
    /// By the category of the campaign.
    #[serde(default, deserialize_with = "crate::http::unique_keys")]
    pub per_category: BTreeMap<String, Vec<Cap>>,
}

/// At most `limit` messages in any `window_ms`. Exactly one window ago no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// Most messages.
    pub limit: u32,
    /// Length of the rolling window, in milliseconds.
    #[schema(minimum = 1)]
    pub window_ms: i64,
}

/// Quiet time [from, to) by wall clock, over midnight when `from` is later than `to`, none when they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// First quiet minute.
    pub from: TimeOfDay,
    /// First minute that is no longer quiet.
    pub to: TimeOfDay,
}

/// A wall-clock time: minutes since midnight, `HH:MM` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// 0 to 1439; `None` beyond that.
    pub fn from_minutes(minutes: u16) -> Option<Self> {
        (minutes < 24 * 60).then_some(Self(minutes))
    }

    /// Minutes since midnight, 0 to 1439.
    pub fn minutes(self) -> u16 {
        self.0
    }

    /// Reads `HH:MM`, 00:00 to 23:59.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |n: usize| text.as_bytes().get(n).filter(|b| b.is_ascii_digit()).map(|b| u16::from(b - b'0'));
        if text.len() != 5 || text.as_bytes()[2] != b':' {
            return None;
        }
        let (hours, minutes) = (digit(0)? * 10 + digit(1)?, digit(3)? * 10 + digit(4)?);
        (hours < 24 && minutes < 60).then_some(Self(hours * 60 + minutes))
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a time of day such as 22:30"))
    }
}

impl utoipa::PartialSchema for TimeOfDay {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^([01][0-9]|2[0-3]):[0-5][0-9]$"))
            .into()
    }
}

impl utoipa::ToSchema for TimeOfDay {}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            currency: "EUR".to_owned(),
            locale: "en".to_owned(),
            cors_origins: BTreeSet::new(),
            caps: Caps::default(),
            min_gap_ms: 0,
            quiet_hours: None,
            location_retention_ms: 24 * HOUR_MS,
            event_retention_ms: KEPT_MS,
            decision_retention_ms: KEPT_MS,
            erasure_undo_ms: 0,
            session_life_ms: None,
            session_idle_ms: None,
            password_chars_min: 8,
            passkeys: None,
            question_cool_down_ms: DAY_MS,
            question_skip_ms: 30 * DAY_MS,
            jurisdiction: None,
            age_gate: None,
            controller: None,
        }
    }
}

impl Settings {
    /// Refuses settings that cannot be meant; names the first field at fault under `settings`.
    ///
    /// # Errors
    /// 400 `validation_failed`.
    pub fn check(&self) -> Result<()> {
        // `get` also knows names that stand for no place, such as `Etc/Unknown`.
        if !jiff::tz::TimeZone::get(&self.time_zone).is_ok_and(|zone| !zone.is_unknown()) {
            return wrong("time_zone", "invalid", "expected an IANA time zone such as Europe/Paris");
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return wrong("currency", "invalid", "expected an ISO 4217 code such as EUR");
        }
        if !is_locale(&self.locale) {
            return wrong("locale", "invalid", "expected a BCP 47 tag such as fr or fr-CH");
        }
        if self.cors_origins.len() > ORIGINS_MAX {
            return wrong("cors_origins", "too_long", &format!("at most {ORIGINS_MAX} origins"));
        }
        if !self.cors_origins.iter().all(|origin| is_origin(origin)) {
            return wrong("cors_origins", "invalid", "expected origins such as https://shop.example, without a path");
        }
        check_caps("caps.overall", &self.caps.overall)?;
        if self.caps.per_category.len() > CATEGORIES_MAX {
            return wrong("caps.per_category", "too_long", &format!("at most {CATEGORIES_MAX} categories"));
        }
        for (category, caps) in &self.caps.per_category {
            crate::http::check_text("settings.caps.per_category", category, 100)?;
            check_caps("caps.per_category", caps)?;
        }
        check_span("min_gap_ms", self.min_gap_ms, 0)?;
        check_span("location_retention_ms", self.location_retention_ms, 0)?;
        check_between("event_retention_ms", self.event_retention_ms, (EVENTS_MIN_MS, KEPT_MAX_MS))?;
        check_between("decision_retention_ms", self.decision_retention_ms, (DECISIONS_MIN_MS, KEPT_MAX_MS))?;
        check_between("erasure_undo_ms", self.erasure_undo_ms, (0, UNDO_MAX_MS))?;
        check_span("question_cool_down_ms", self.question_cool_down_ms, QUESTION_COOL_DOWN_MIN_MS)?;
        check_span("question_skip_ms", self.question_skip_ms, 0)?;
        for (field, span_ms) in [("session_life_ms", self.session_life_ms), ("session_idle_ms", self.session_idle_ms)] {
            span_ms.map_or(Ok(()), |span_ms| check_span(field, span_ms, SESSION_MIN_MS))?;
        }
        if !(8..=64).contains(&self.password_chars_min) {
            return wrong("password_chars_min", "out_of_range", "must be 8 to 64");
        }
        self.passkeys.as_ref().map_or(Ok(()), Passkeys::check)?;
        self.jurisdiction.as_deref().map_or(Ok(()), |code| check_jurisdiction("settings.jurisdiction", code))?;
        self.age_gate.as_ref().map_or(Ok(()), AgeGate::check)?;
        self.controller.as_ref().map_or(Ok(()), Controller::check)
    }
}

pub(super) fn wrong(field: &str, code: &'static str, message: &str) -> Result<()> {
    Err(Error::invalid(format!("settings.{field}"), code, message))
}

fn check_span(field: &str, span_ms: i64, least_ms: i64) -> Result<()> {
    check_between(field, span_ms, (least_ms, SPAN_MAX_MS))
}

fn check_between(field: &str, span_ms: i64, (least_ms, most_ms): (i64, i64)) -> Result<()> {
    if (least_ms..=most_ms).contains(&span_ms) {
        return Ok(());
    }
    wrong(field, "out_of_range", &format!("must be {least_ms} to {most_ms} milliseconds"))
}

fn check_caps(field: &str, caps: &[Cap]) -> Result<()> {
    if caps.len() > CAPS_MAX {
        return wrong(field, "too_long", &format!("at most {CAPS_MAX} caps"));
    }
    caps.iter().try_for_each(|cap| check_span(field, cap.window_ms, 1))
}

/// Whether a text has the form of a BCP 47 tag: subtags of 1 to 8 letters and digits, the first of 2 or 3 letters.
pub(crate) fn is_locale(tag: &str) -> bool {
    let mut parts = tag.split('-');
    tag.len() <= 35
        && parts.next().is_some_and(|l| (2..=3).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphabetic()))
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether a text is an origin as browsers send it: scheme, host in lower case, perhaps a port, nothing else.
fn is_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() => (name, Some(port)),
        _ => (host, None),
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    text.len() <= 255
        && !name.is_empty()
        && name.bytes().all(plain)
        && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n > 0 && n.to_string() == p))
}

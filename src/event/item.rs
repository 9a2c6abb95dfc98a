//! One event as it is sent: parsed on its own, so that a bad one never sinks its neighbours.

use super::content;
use crate::clock::Time;
use crate::error::{Error, FieldError, Result};
use crate::http::{self, FreeJson, check_text, given};
use crate::id::{DeviceId, ThingId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest id, in characters.
const ID_MAX: usize = 100;
/// Longest type, in characters.
const TYPE_MAX: usize = 100;
/// Longest external id or key in a subject, in characters.
const NAME_MAX: usize = 200;
/// Largest properties, in bytes of canonical JSON.
const PROPERTIES_BYTES_MAX: usize = 16_384;
/// About what an event without properties takes in memory, in bytes.
const BARE_BYTES: u32 = 500;
/// Worst accuracy that is one, in metres: half the globe's circumference.
const ACCURACY_M_MAX: f64 = 20_037_508.0;

/// Where something is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Latitude in degrees.
    #[schema(minimum = -90, maximum = 90)]
    pub lat: f64,
    /// Longitude in degrees.
    #[schema(minimum = -180, maximum = 180)]
    pub lon: f64,
    /// How good the fix is, in metres; unknown when left out.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 20037508)]
    pub accuracy_m: Option<f64>,
}

/// An event to record.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventIn)]
pub struct ItemIn {
    /// The sender's own id of it: the same id again is a duplicate.
    #[schema(min_length = 1, max_length = 100)]
    pub id: String,
    /// What happened, e.g. `order.placed`. `place.*` and `thing.changed` are made by Kairos itself.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 100, pattern = "^[a-z][a-z0-9_.-]*$")]
    pub kind: String,
    /// When it happened.
    pub occurred_at: Time,
    /// Whom it is about: `usr_…`, `dev_…`, `thg_…`, `user:<external id>` or `thing:<key>`; the caller when left out.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 205)]
    pub subject: Option<String>,
    /// Anything more, as the type declares it.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub properties: Option<FreeJson>,
    /// Where it happened.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub location: Option<Location>,
}

/// Whom an event is about, as the sender says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user.
    User(UserId),
    /// An installation.
    Device(DeviceId),
    /// A thing.
    Thing(ThingId),
    /// A user by the app's own id.
    External(String),
    /// A thing by its key.
    Key(String),
}

/// An event that can be recorded.
#[derive(Debug, Clone)]
pub struct Item {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) occurred_ms: i64,
    pub(super) subject: Subject,
    pub(super) subject_text: String,
    pub(super) properties: Map<String, Value>,
    pub(super) text: String,
    pub(super) location: Option<Location>,
    pub(super) hash: String,
}

impl Subject {
    pub(super) fn may_be_a_thing(&self) -> bool {
        match self {
            Self::Thing(_) | Self::Key(_) => true,
            Self::User(_) | Self::Device(_) | Self::External(_) => false,
        }
    }

    /// Reads one of the five forms.
    ///
    /// # Errors
    /// 400 that names `subject`.
    pub fn parse(text: &str) -> Result<Self> {
        let name = |name: &str| check_text("subject", name, NAME_MAX).map(|()| name.to_owned());
        if let Some(external) = text.strip_prefix("user:") {
            return name(external).map(Self::External);
        }
        if let Some(key) = text.strip_prefix("thing:") {
            return name(key).map(Self::Key);
        }
        let id =
            text.parse().map(Self::User).or_else(|_| text.parse().map(Self::Device)).or_else(|_| text.parse().map(Self::Thing));
        id.map_err(|_| Error::invalid("subject", "invalid", "expected usr_…, dev_…, thg_…, user:<external id> or thing:<key>"))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(f, "{id}"),
            Self::Device(id) => write!(f, "{id}"),
            Self::Thing(id) => write!(f, "{id}"),
            Self::External(id) => write!(f, "user:{id}"),
            Self::Key(key) => write!(f, "thing:{key}"),
        }
    }
}

impl Item {
    /// The sender's id of it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// About what it takes to hold it, in bytes.
    pub(super) fn weight(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX).saturating_add(BARE_BYTES)
    }

    /// Parses one event of a batch; without a subject it is about the caller.
    ///
    /// # Errors
    /// The fields at fault, named within the event.
    pub fn parse(raw: &str, caller: Option<&Subject>) -> Result<Self, Vec<FieldError>> {
        let read = http::parse::<ItemIn>(raw.as_bytes()).and_then(|item| Self::of(item, caller));
        read.map_err(|error| match error {
            Error::Refused(problem) => problem.errors,
            Error::Busy(_) | Error::Broken(_) => Vec::new(),
        })
    }

    /// Checks an event that is built already: replay and seeding.
    ///
    /// # Errors
    /// 400 that names the field.
    pub fn of(item: ItemIn, caller: Option<&Subject>) -> Result<Self> {
        check_text("id", &item.id, ID_MAX)?;
        check_kind("type", &item.kind)?;
        if item.kind.starts_with("place.") || item.kind == super::THING_CHANGED {
            return Err(Error::invalid("type", "reserved", "Kairos itself makes events of this type"));
        }
        let subject = match (&item.subject, caller) {
            (Some(text), _) => Subject::parse(text)?,
            (None, Some(caller)) => caller.clone(),
            (None, None) => return Err(Error::invalid("subject", "required", "this caller has to say whom the event is about")),
        };
        if let Some(location) = &item.location {
            check_location(location)?;
        }
        let properties = item.properties.unwrap_or_default().0;
        let text = content::canonical(&properties);
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(Error::invalid("properties", "too_long", format!("at most {PROPERTIES_BYTES_MAX} bytes of JSON")));
        }
        let subject_text = subject.to_string();
        let hash = content::hash(&item.kind, item.occurred_at.0, &subject_text, (&text, item.location));
        Ok(Self {
            id: item.id,
            kind: item.kind,
            occurred_ms: item.occurred_at.0,
            subject,
            subject_text,
            properties,
            text,
            location: item.location,
            hash,
        })
    }
}

/// The form of an event type.
///
/// # Errors
/// 400 that names the field.
pub(super) fn check_kind(field: &str, kind: &str) -> Result<()> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    let good = kind.len() <= TYPE_MAX && kind.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && kind.bytes().all(rest);
    if good {
        return Ok(());
    }
    Err(Error::invalid(field, "invalid", "expected a lower-case letter, then up to 99 of a-z, 0-9, _, -, ."))
}

fn check_location(location: &Location) -> Result<()> {
    let out = |field: &str, message: &str| Err(Error::invalid(format!("location.{field}"), "out_of_range", message));
    if !(-90.0..=90.0).contains(&location.lat) {
        return out("lat", "must be -90 to 90");
    }
    if !(-180.0..=180.0).contains(&location.lon) {
        return out("lon", "must be -180 to 180");
    }
    if location.accuracy_m.is_some_and(|m| !(0.0..=ACCURACY_M_MAX).contains(&m)) {
        return out("accuracy_m", "must be 0 to 20037508");
    }
    Ok(())
}

//! A moment kind: which event opens a moment, how long it lasts and how its value fades.

use super::check::{Check, SPAN_MS_MAX, is_event_type};
use crate::error::Result;
use crate::id::PlaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most tags or places that a trigger may name.
const PLACES_MAX: usize = 100;
/// Most steps of a curve.
const STEPS_MAX: usize = 50;
/// Most offers that one moment may choose.
const OFFERS_PER_MOMENT_MAX: u32 = 10;
/// Longest property name or text value in a trigger, in bytes.
const PROPERTY_BYTES_MAX: usize = 200;

/// A kind of moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MomentKind)]
pub struct Kind {
    /// Its name in this app; with PUT the one in the URL, which this must equal when it is given.
    #[serde(default)]
    #[schema(max_length = 64, pattern = "^[a-z0-9][a-z0-9_.-]*$")]
    pub key: String,
    /// What opens a moment.
    pub trigger: Trigger,
    /// How long a moment lasts, counted from the event's `occurred_at`, in milliseconds.
    #[schema(minimum = 1000)]
    pub window_ms: i64,
    /// How its value fades.
    #[serde(default)]
    pub curve: Curve,
    /// A rule whose value tells moments of this kind apart: a text, a number or a boolean. By default the place, else
    /// the thing. While a moment of the same user, kind and key is open, a further event joins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment_key: Option<String>,
    /// How long after its close no further moment of the same key opens, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub cool_down_ms: i64,
    /// Whether a newer moment of this kind cancels what is queued for an older one.
    #[serde(default)]
    pub supersede: bool,
    /// Whether what a moment of this kind has shown is taken back from the phone when it closes, or when a newer one
    /// takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recall: bool,
    /// How many offers one moment may choose.
    #[serde(default = "one_offer")]
    #[schema(minimum = 1, maximum = 10)]
    pub max_offers_per_moment: u32,
}

fn one_offer() -> u32 {
    1
}

/// What opens a moment. Everything named must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MomentTrigger)]
pub struct Trigger {
    /// The type of the event.
    #[schema(max_length = 100)]
    pub event_type: String,
    /// A rule that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The place must have one of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub place_tags: Vec<String>,
    /// The place must be one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub place_ids: Vec<PlaceId>,
    /// For `thing.changed`: the property that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// For `thing.changed`: the value before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Scalar>,
    /// For `thing.changed`: the value now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Scalar>,
    /// For `place.enter`: whether the first sight of a subject that is inside already counts.
    #[serde(default)]
    pub include_initial: bool,
}

/// A value that a property may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TriggerValue)]
pub enum Scalar {
    /// True or false.
    Boolean(bool),
    /// Any finite number; 1 and 1.0 are equal.
    Number(f64),
    /// A text.
    Text(String),
}

impl Scalar {
    /// Whether a property has this value.
    pub fn matches(&self, value: &serde_json::Value) -> bool {
        match self {
            Self::Boolean(b) => value.as_bool() == Some(*b),
            Self::Number(n) => value.as_f64() == Some(*n),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}

/// How the value of a moment fades with its age; 0 at and after its window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ValueCurve)]
pub enum Curve {
    /// The whole value until the end.
    #[default]
    Flat,
    /// Down to 0 in a straight line.
    Linear,
    /// Half of it gone after each span.
    HalfLife(HalfLife),
    /// The factor of the first step whose end the age has not reached, 0 after the last.
    Steps(Vec<Step>),
}

/// See [`Curve::HalfLife`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ValueHalfLife)]
pub struct HalfLife {
    /// The span after which half of the value is gone, in milliseconds.
    #[schema(minimum = 1)]
    pub h_ms: i64,
}

/// One step of [`Curve::Steps`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ValueStep)]
pub struct Step {
    /// The age before which this step holds, in milliseconds.
    #[schema(minimum = 1)]
    pub until_ms: i64,
    /// Its share of the value, 0 to 1, never above the step before.
    #[schema(minimum = 0, maximum = 1)]
    pub factor: f64,
}

impl Kind {
    /// Checks everything that needs no look into the database. Rules are compiled elsewhere.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub fn check(&self) -> Result<()> {
        let mut check = Check::default();
        check.key("key", &self.key);
        self.trigger.check(&mut check);
        check.range("window_ms", self.window_ms, 1_000..=SPAN_MS_MAX);
        check.range("cool_down_ms", self.cool_down_ms, 0..=SPAN_MS_MAX);
        check.range("max_offers_per_moment", self.max_offers_per_moment, 1..=OFFERS_PER_MOMENT_MAX);
        self.curve.check(&mut check);
        check.finish()
    }
}

impl Trigger {
    fn check(&self, check: &mut Check) {
        if !is_event_type(&self.event_type) {
            check.refuse("trigger.event_type", "invalid", "must be 1 to 100 letters, digits, `.`, `_`, `-`, `:` or `/`");
        }
        check.count("trigger.place_tags", self.place_tags.len(), 0..=PLACES_MAX);
        check.count("trigger.place_ids", self.place_ids.len(), 0..=PLACES_MAX);
        for (n, tag) in self.place_tags.iter().enumerate() {
            check.words(format!("trigger.place_tags[{n}]"), tag, 64);
        }
        let changes = self.event_type == "thing.changed";
        let named = [("property", self.property.is_some()), ("from", self.from.is_some()), ("to", self.to.is_some())];
        for (field, _) in named.iter().filter(|(_, given)| *given && !changes) {
            check.refuse(format!("trigger.{field}"), "invalid", "is for the event type thing.changed alone");
        }
        if self.property.is_none() && (self.from.is_some() || self.to.is_some()) {
            check.refuse("trigger.property", "required", "say which property goes from and to these values");
        }
        if let Some(property) = &self.property {
            check.words("trigger.property", property, PROPERTY_BYTES_MAX);
        }
        for (field, value) in [("trigger.from", &self.from), ("trigger.to", &self.to)] {
            if let Some(Scalar::Text(text)) = value
                && text.len() > PROPERTY_BYTES_MAX
            {
                check.refuse(field, "too_long", format!("must have at most {PROPERTY_BYTES_MAX} bytes"));
            }
        }
        if self.include_initial && self.event_type != "place.enter" {
            check.refuse("trigger.include_initial", "invalid", "is for the event type place.enter alone");
        }
    }
}

impl Curve {
    fn check(&self, check: &mut Check) {
        match self {
            Self::Flat | Self::Linear => {}
            Self::HalfLife(half_life) => check.range("curve.half_life.h_ms", half_life.h_ms, 1..=SPAN_MS_MAX),
            Self::Steps(steps) => {
                check.count("curve.steps", steps.len(), 1..=STEPS_MAX);
                for (n, step) in steps.iter().enumerate() {
                    check.range(format!("curve.steps[{n}].until_ms"), step.until_ms, 1..=SPAN_MS_MAX);
                    check.range(format!("curve.steps[{n}].factor"), step.factor, 0.0..=1.0);
                }
                for (n, pair) in steps.windows(2).enumerate() {
                    if pair[1].until_ms <= pair[0].until_ms {
                        check.refuse(format!("curve.steps[{}].until_ms", n + 1), "out_of_range", "must be after the step before");
                    }
                    if pair[1].factor > pair[0].factor {
                        check.refuse(format!("curve.steps[{}].factor", n + 1), "out_of_range", "must never rise");
                    }
                }
            }
        }
    }
}

//! One frame of a Live Activity: the state to show, until when it is fresh, and the JSON that Apple gets. Pure.

use crate::clock::{DAY_MS, HOUR_MS, Time};
use crate::error::{Error, Problem, Result};
use crate::http::{FreeJson, check_text, given};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Largest payload to one device, in bytes.
pub const PAYLOAD_LIMIT_BYTES: usize = 4_096;
/// Largest payload of a broadcast, in bytes.
pub const BROADCAST_LIMIT_BYTES: usize = 5_120;
/// Longest line of an alert, in characters.
const LINE_CHARS_MAX: usize = 500;
/// Most values of a localised line.
const ARGS_MAX: usize = 16;
/// How far ahead a state may be said to go stale, and how long after now an ended activity may stay, in milliseconds.
const STALE_MAX_MS: i64 = DAY_MS;
const DISMISSAL_MAX_MS: i64 = 4 * HOUR_MS;

/// What a push does to an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActivityEvent)]
pub enum Event {
    /// It begins.
    Start,
    /// It shows another state.
    Update,
    /// It is over.
    End,
}

impl Event {
    /// The word in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::End => "end",
        }
    }

    /// Reads the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Start, Self::Update, Self::End].into_iter().find(|event| event.name() == word)
    }
}

/// What is said aloud along with a state: a banner and a sound. Each line is a text, or names an entry of the app's own
/// `Localizable.strings`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ActivityAlert)]
pub struct Alert {
    /// First line.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 500)]
    pub title: Option<String>,
    /// In its place: a key of the app's strings.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 500)]
    pub title_loc_key: Option<String>,
    /// What is put into that string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub title_loc_args: Vec<String>,
    /// Second line.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 500)]
    pub body: Option<String>,
    /// In its place: a key of the app's strings.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 500)]
    pub body_loc_key: Option<String>,
    /// What is put into that string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub body_loc_args: Vec<String>,
    /// A sound of the app by its name, or `default`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 500)]
    pub sound: Option<String>,
}

impl Alert {
    fn check(&self) -> Result<()> {
        let title = (&self.title, &self.title_loc_key, &self.title_loc_args);
        let body = (&self.body, &self.body_loc_key, &self.body_loc_args);
        for (name, (text, key, args)) in [("title", title), ("body", body)] {
            let field = |rest: &str| format!("alert.{name}{rest}");
            match (text, key) {
                (Some(_), Some(_)) => return Err(Error::invalid(field(""), "invalid", "give a text or a key, not both")),
                (None, None) => return Err(Error::invalid(field(""), "required", "Apple shows no alert without title and body")),
                (Some(text), None) => check_text(&field(""), text, LINE_CHARS_MAX)?,
                (None, Some(key)) => check_text(&field("_loc_key"), key, LINE_CHARS_MAX)?,
            }
            if !args.is_empty() && key.is_none() {
                return Err(Error::invalid(field("_loc_args"), "invalid", "there is no key that they belong to"));
            }
            if args.len() > ARGS_MAX {
                return Err(Error::invalid(field("_loc_args"), "too_long", format!("may have at most {ARGS_MAX} values")));
            }
        }
        self.sound.as_deref().map_or(Ok(()), |sound| check_text("alert.sound", sound, LINE_CHARS_MAX))
    }

    fn json(&self) -> Value {
        let line = |text: &Option<String>, key: &Option<String>, args: &[String]| match (text, key) {
            (_, Some(key)) => json!({"loc-key": key, "loc-args": args}),
            (text, None) => json!(text),
        };
        let mut alert = json!({
            "title": line(&self.title, &self.title_loc_key, &self.title_loc_args),
            "body": line(&self.body, &self.body_loc_key, &self.body_loc_args),
        });
        if let (Some(sound), Some(alert)) = (&self.sound, alert.as_object_mut()) {
            alert.insert("sound".to_owned(), Value::from(sound.as_str()));
        }
        alert
    }
}

/// The state to show, as it comes from outside.
#[derive(Debug, Clone)]
pub struct FrameIn {
    /// What the app's `ContentState` decodes.
    pub content_state: FreeJson,
    /// From when on the state is out of date; at most a day ahead.
    pub stale_at: Option<Time>,
    /// For the end: when it leaves the lock screen, at most four hours ahead. A time that has passed takes it away at once.
    pub dismissal_at: Option<Time>,
    /// Which of several activities is shown first: the one with the greatest.
    pub relevance_score: Option<f64>,
    /// What is said aloud along with it.
    pub alert: Option<Alert>,
}

/// The state to show, checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// What the app's `ContentState` decodes.
    pub content_state: Map<String, Value>,
    /// From when on it is out of date, UTC milliseconds.
    pub stale_ms: Option<i64>,
    /// When the activity leaves the lock screen, UTC milliseconds.
    pub dismissal_ms: Option<i64>,
    /// Which of several is shown first.
    pub relevance: Option<f64>,
    /// What is said aloud along with it.
    pub alert: Option<Alert>,
}

/// What the start of an activity says besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The name of the app's `ActivityAttributes`.
    pub attributes_type: String,
    /// What never changes.
    pub attributes: Map<String, Value>,
    /// Apple's name of the channel over which it will be updated.
    pub input_push_channel: Option<String>,
}

impl FrameIn {
    /// The frame, checked.
    ///
    /// # Errors
    /// 400 that names the field.
    pub fn checked(self, event: Event, now_ms: i64) -> Result<Frame> {
        let Self { content_state, stale_at, dismissal_at, relevance_score, alert } = self;
        if let Some(at) = stale_at
            && !(now_ms + 1_000..=now_ms + STALE_MAX_MS).contains(&at.0)
        {
            return Err(Error::invalid("stale_at", "out_of_range", "must lie ahead, by a day at most"));
        }
        if let Some(at) = dismissal_at {
            if event != Event::End {
                return Err(Error::invalid("dismissal_at", "invalid", "only the end of an activity has a time of dismissal"));
            }
            if !(0..=now_ms + DISMISSAL_MAX_MS).contains(&at.0) {
                return Err(Error::invalid("dismissal_at", "out_of_range", "may lie at most four hours ahead"));
            }
        }
        if relevance_score.is_some_and(|score| !(0.0..=1_000.0).contains(&score)) {
            return Err(Error::invalid("relevance_score", "out_of_range", "must be 0 to 1000"));
        }
        match &alert {
            Some(alert) => alert.check()?,
            None if event == Event::Start => {
                return Err(Error::invalid("alert", "required", "Apple starts no activity without an alert"));
            }
            None => {}
        }
        let ms = |at: Option<Time>| at.map(|at| at.0);
        Ok(Frame {
            content_state: content_state.0,
            stale_ms: ms(stale_at),
            dismissal_ms: ms(dismissal_at),
            relevance: relevance_score,
            alert,
        })
    }
}

impl Frame {
    /// The body of the request; `kairos` is what it carries of us.
    pub fn render(&self, (event, timestamp_s): (Event, i64), start: Option<&Start>, kairos: Option<Value>) -> String {
        let mut aps = Map::new();
        let mut put = |key: &str, value: Value| drop(aps.insert(key.to_owned(), value));
        put("timestamp", Value::from(timestamp_s));
        put("event", Value::from(event.name()));
        put("content-state", Value::Object(self.content_state.clone()));
        for (key, ms) in [("stale-date", self.stale_ms), ("dismissal-date", self.dismissal_ms)] {
            if let Some(ms) = ms {
                put(key, Value::from(ms.div_euclid(1_000)));
            }
        }
        if let Some(score) = self.relevance {
            put("relevance-score", Value::from(score));
        }
        if let Some(alert) = &self.alert {
            put("alert", alert.json());
        }
        if let Some(start) = start {
            put("attributes-type", Value::from(start.attributes_type.as_str()));
            put("attributes", Value::Object(start.attributes.clone()));
            match &start.input_push_channel {
                Some(channel) => put("input-push-channel", Value::from(channel.as_str())),
                None => put("input-push-token", Value::from(1)),
            }
        }
        let mut root = Map::new();
        root.insert("aps".to_owned(), Value::Object(aps));
        if let Some(kairos) = kairos {
            root.insert("kairos".to_owned(), kairos);
        }
        Value::Object(root).to_string()
    }

    /// Refuses what is too large, by the field that has most of it.
    ///
    /// # Errors
    /// 400 `validation_failed` that names the field.
    pub fn check_size(&self, start: Option<&Start>, (bytes, limit): (usize, usize)) -> Result<()> {
        if bytes <= limit {
            return Ok(());
        }
        let of = |map: &Map<String, Value>| serde_json::to_string(map).map_or(0, |text| text.len());
        let parts = [
            ("content_state", of(&self.content_state)),
            ("attributes", start.map_or(0, |start| of(&start.attributes))),
            ("alert", self.alert.as_ref().map_or(0, |alert| alert.json().to_string().len())),
        ];
        let (field, own) = parts.into_iter().max_by_key(|(_, own)| *own).unwrap_or_default();
        let over = bytes - limit;
        let message =
            format!("the payload has {bytes} bytes, Apple takes {limit}: {over} too many, and this field has {own} of them");
        Err(Problem::new(400, "payload_too_large", format!("{field}: {message}")).field(field, "too_long", message).into())
    }
}

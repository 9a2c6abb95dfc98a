//! What a push says and how: one vocabulary for all gateways, with a block for what only one of them knows.
//!
//! The same type is what authors write (its texts are templates then) and what is sent to one person (rendered). Whatever
//! is absent costs nothing and means what the gateway does by itself.

mod android;
mod apple;
mod check;
mod encrypted;
mod kind;
mod limits;
mod measure;
mod parts;
mod rendered;
mod sound;
mod texts;
mod web;

pub use android::{Android, LightSettings, NotificationPriority, Proxy, Visibility};
pub use apple::Apple;
pub use encrypted::Encrypted;
pub use kind::{Head, Kind, Shape};
pub use measure::TooLarge;
pub use parts::{BADGE_MAX, Badge, InterruptionLevel, Localised, Priority, Share};
pub use sound::Sound;
pub use texts::is_template;
pub use web::{Action, Web};

use crate::http::unique_keys;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a push says. The texts, `data`, the arguments of keys, `collapse_id` and `thread` are minijinja templates where a
/// person's facts are known: over `user, device, event, moment, place, thing, offer`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = PushContent)]
pub struct Content {
    /// The first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096)]
    pub title: Option<String>,
    /// The second line; Apple's phones alone have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096)]
    pub subtitle: Option<String>,
    /// The text; empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(min_length = 1, max_length = 4096)]
    pub body: String,
    /// URL of an image, https. Values in it are percent-encoded, but for one that it begins with and what is marked `safe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub image: Option<String>,
    /// What the app opens on a tap: a link of the web or of the app. Values in it are percent-encoded as in `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub link: Option<String>,
    /// The app's own keys, never shown. A text is a template; any other JSON goes out as it is, to Google as text.
    #[serde(deserialize_with = "unique_map", skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub data: Map<String, Value>,
    /// A title out of the app's own translations, in the place of `title`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title_key: Option<Localised>,
    /// A second line out of the app's own translations; Apple's phones alone have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtitle_key: Option<Localised>,
    /// A text out of the app's own translations, in the place of `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_key: Option<Localised>,
    /// `default`, `none`, the name of a file in the app, or a critical one `{name, volume}`; absent: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<Sound>,
    /// The number on the app's icon, which the server keeps for each device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub badge: Option<Badge>,
    /// Messages of one thread are grouped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub thread: Option<String>,
    /// Which of the app's sets of buttons goes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub category: Option<String>,
    /// How much it may interrupt; absent: `active`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interruption_level: Option<InterruptionLevel>,
    /// How far up it stands in a summary, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1)]
    pub relevance: Option<Share>,
    /// Whether the app's extension may change it before it is shown; an image implies it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mutable_content: bool,
    /// Shows nothing and wakes the app, if the phone has leisure: a background push.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// How urgent it is; absent: `high`, of silent ones `normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long after it is due it may be handed over at most, in milliseconds, where its deadline is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1000, maximum = 2_419_200_000_i64)]
    pub ttl_limit_ms: Option<i64>,
    /// Pushes with the same id replace each other on the phone: up to 64 visible ASCII characters; absent: one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub collapse_id: Option<String>,
    /// Encrypts the words for each device; this is shown in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<Encrypted>,
    /// What only Apple's phones know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Apple>)]
    pub apple: Option<Arc<Apple>>,
    /// What only phones with Google's services know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Android>)]
    pub android: Option<Arc<Android>>,
    /// What only browsers know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Web>)]
    pub web: Option<Arc<Web>>,
    /// Until when it is in the person's inbox, also when no push gets through, UTC milliseconds; absent: until the
    /// deadline, if one does.
    #[serde(skip)]
    pub inbox_until_ms: Option<i64>,
}

fn unique_map<'de, D: Deserializer<'de>>(d: D) -> Result<Map<String, Value>, D::Error> {
    unique_keys::<D, String, Value>(d).map(|keys: BTreeMap<String, Value>| keys.into_iter().collect())
}

impl Content {
    /// Whether a phone shows words of it.
    pub fn has_words(&self) -> bool {
        self.title.is_some() || !self.body.is_empty() || self.title_key.is_some() || self.body_key.is_some()
    }

    /// Apple's kind of push.
    pub fn kind(&self) -> Kind<'_> {
        let said =
            self.apple.as_ref().and_then(|apple| apple.push_type.as_deref().map(|word| (word, apple.topic_suffix.as_deref())));
        match said {
            Some((word, suffix)) => Kind::named(word).unwrap_or(Kind::open(word, suffix.unwrap_or(""))),
            None if self.silent => Kind::BACKGROUND,
            None => Kind::ALERT,
        }
    }

    /// How urgent it is.
    pub fn priority(&self) -> Priority {
        let quiet = self.silent || self.kind() == Kind::BACKGROUND;
        self.priority.unwrap_or(if quiet { Priority::Normal } else { Priority::High })
    }

    /// What Apple is told beside the body; none for the usual: an alert at once.
    pub fn head(&self) -> Option<Head<'_>> {
        let kind = self.kind();
        let asked = self.apple.as_ref().and_then(|apple| apple.priority);
        let priority = match (asked, self.priority) {
            _ if kind == Kind::BACKGROUND => 5,
            (Some(number), _) => number,
            (None, Some(Priority::Normal)) => 5,
            (None, Some(Priority::High)) => 10,
            (None, None) => kind.priority,
        };
        let head = Head { push_type: kind.word, priority, suffix: kind.suffix };
        (head != Head::USUAL).then_some(head)
    }

    /// Until when a message that is due then may be handed over, UTC milliseconds.
    pub fn deadline_ms(&self, due_ms: i64, deadline_ms: i64) -> i64 {
        self.ttl_limit_ms.map_or(deadline_ms, |limit_ms| deadline_ms.min(due_ms.saturating_add(limit_ms)))
    }
}

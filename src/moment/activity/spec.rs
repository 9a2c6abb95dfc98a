//! What is asked for: an activity to start, and its next state; checked, and as decisions take it. Pure.

use super::{ACTIVE_MS, USEFUL_MS};
use crate::campaign::check::{Check, SPAN_MS_MAX};
use crate::campaign::{Class, Devices, Mode, Template, When};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{FreeJson, given};
use crate::id::{ActivityId, ChannelId};
use crate::moment::direct::{Audience, Kind, Spec};
use crate::push::Content;
use crate::push::activity::{Alert, Event, Frame, FrameIn, ID_ATTRIBUTE, Start, attributes_type};
use crate::push::content::{Apple, Kind as PushKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The locale of what has no words.
const UNDETERMINED: &str = "und";

/// A Live Activity to be started.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewActivity {
    /// The name of the app's `ActivityAttributes`.
    #[schema(max_length = 100)]
    pub attributes_type: String,
    /// What never changes. `kairos_activity_id` is added: by it the app says later which activity has which update token.
    pub attributes: FreeJson,
    /// What the app's `ContentState` decodes.
    pub content_state: FreeJson,
    /// From when on the state is out of date; at most a day ahead.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub stale_at: Option<Time>,
    /// Which of several activities is shown first.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1000)]
    pub relevance_score: Option<f64>,
    /// What is said aloud along with it: Apple starts none without.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub alert: Option<Alert>,
    /// For whom: a list of users or devices, at most 1,000.
    pub audience: Audience,
    /// The purpose that its users must have consented to, when it has basis `consent`; its updates need it too.
    #[schema(max_length = 64)]
    pub purpose: String,
    /// How the start stands with pause, quiet hours and caps; `critical` needs a critical topic.
    #[serde(default)]
    pub class: Class,
    /// The topic that users must not have switched off.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 64)]
    pub topic: Option<String>,
    /// What caps per category count it under.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 64)]
    pub category: Option<String>,
    /// Our channel over which it is updated; when left out, each phone says an update token.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub channel_id: Option<ChannelId>,
    /// 10: at once; 5: may wait. 10 when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub priority: Option<u8>,
    /// Not after this time, eight hours ahead at most; when left out, `stale_at`, else an hour from now.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub deliver_by: Option<Time>,
    /// What happens to a message whose fate is not known.
    #[serde(default)]
    pub mode: Mode,
}

/// The next state of a Live Activity, or its last.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewActivityUpdate {
    /// `update` or `end`.
    pub event: Event,
    /// What the app's `ContentState` decodes.
    pub content_state: FreeJson,
    /// From when on the state is out of date; at most a day ahead.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub stale_at: Option<Time>,
    /// For the end: when it leaves the lock screen, at most four hours ahead. A time that has passed takes it away at once.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub dismissal_at: Option<Time>,
    /// Which of several activities is shown first.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1000)]
    pub relevance_score: Option<f64>,
    /// What is said aloud along with it; not in quiet time.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub alert: Option<Alert>,
    /// The purpose that it needs: that of the start. An activity that the app has begun by itself has none, so that it has
    /// to be named.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_length = 64)]
    pub purpose: Option<String>,
    /// 10: at once, out of an hourly budget that each phone has; 5: may wait, and costs none. When left out, 10 with an
    /// alert and at the end, else 5.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub priority: Option<u8>,
    /// Not after this time, eight hours ahead at most; when left out, `stale_at`, else an hour from now.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub deliver_by: Option<Time>,
    /// What happens to a message whose fate is not known.
    #[serde(default)]
    pub mode: Mode,
}

/// What is kept of how an activity stands with the gates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The purpose that it needs.
    pub purpose: String,
    /// The class of its start.
    pub class: Class,
    /// The topic that it belongs to.
    pub topic: Option<String>,
    /// The category of its start.
    pub category: Option<String>,
    /// What happens to a start whose fate is not known.
    pub mode: Mode,
}

/// What is kept of a start while somebody may still get it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// What it shows.
    pub frame: Frame,
    /// What it says besides.
    pub start: Start,
    /// `apns-priority`.
    pub priority: u8,
    /// When it was asked for, UTC milliseconds.
    pub at_ms: i64,
    /// Not at or after this time, UTC milliseconds.
    pub deadline_ms: i64,
    /// How many entries its list had.
    pub named: usize,
}

impl NewActivity {
    /// What is kept of it; `apple` is Apple's name of its channel.
    ///
    /// # Errors
    /// 400 that names the field.
    pub fn checked(self, id: ActivityId, apple: Option<String>, now_ms: i64) -> Result<(Plan, Opening)> {
        attributes_type("attributes_type", &self.attributes_type)?;
        let mut check = Check::default();
        check.key("purpose", &self.purpose);
        for (field, key) in [("topic", &self.topic), ("category", &self.category)] {
            if let Some(key) = key {
                check.key(field, key);
            }
        }
        let named = match self.audience.kind(&mut check) {
            Some(Kind::List { named }) => named,
            Some(Kind::Topic { .. } | Kind::Rule { .. }) => {
                check.refuse("audience", "invalid", "an activity is started for a list of users or devices");
                0
            }
            None => 0,
        };
        check.finish()?;
        let Self { content_state, stale_at, relevance_score, alert, purpose, class, topic, category, mode, .. } = self;
        let mut attributes = self.attributes.0;
        if attributes.insert(ID_ATTRIBUTE.to_owned(), id.to_string().into()).is_some() {
            let field = format!("attributes.{ID_ATTRIBUTE}");
            return Err(Error::invalid(field, "invalid", "this attribute is ours: it says which activity it is"));
        }
        let frame = FrameIn { content_state, stale_at, dismissal_at: None, relevance_score, alert };
        let opening = Opening {
            frame: frame.checked(Event::Start, now_ms)?,
            start: Start { attributes_type: self.attributes_type, attributes, input_push_channel: apple },
            priority: priority(self.priority, 10)?,
            at_ms: now_ms,
            deadline_ms: deadline(self.deliver_by, stale_at, now_ms)?,
            named,
        };
        Ok((Plan { purpose, class, topic, category, mode }, opening))
    }
}

impl NewActivityUpdate {
    /// Frame, priority and deadline.
    ///
    /// # Errors
    /// 400 that names the field.
    pub fn checked(self, now_ms: i64) -> Result<(Frame, u8, i64)> {
        let Self { event, content_state, stale_at, dismissal_at, relevance_score, alert, .. } = self;
        if event == Event::Start {
            return Err(Error::invalid("event", "invalid", "it is started already: update or end"));
        }
        let usual = if alert.is_some() || event == Event::End { 10 } else { 5 };
        let priority = priority(self.priority, usual)?;
        let deadline_ms = deadline(self.deliver_by, stale_at, now_ms)?;
        let frame = FrameIn { content_state, stale_at, dismissal_at, relevance_score, alert };
        Ok((frame.checked(event, now_ms)?, priority, deadline_ms))
    }
}

fn priority(asked: Option<u8>, usual: u8) -> Result<u8> {
    match asked.unwrap_or(usual) {
        priority @ (5 | 10) => Ok(priority),
        _ => Err(Error::invalid("priority", "invalid", "must be 5 or 10")),
    }
}

fn deadline(deliver_by: Option<Time>, stale_at: Option<Time>, now_ms: i64) -> Result<i64> {
    match deliver_by {
        Some(at) if (now_ms + 1..=now_ms + ACTIVE_MS).contains(&at.0) => Ok(at.0),
        Some(_) => Err(Error::invalid("deliver_by", "out_of_range", "must lie ahead, by eight hours at most")),
        None => Ok(stale_at.map_or(now_ms + USEFUL_MS, |at| at.0.min(now_ms + ACTIVE_MS))),
    }
}

impl Plan {
    /// The start as a decision takes it.
    pub fn start(&self, id: ActivityId, opening: &Opening) -> Spec {
        let &Opening { priority, at_ms, deadline_ms, named, .. } = opening;
        spec(self.clone(), (id, priority), (at_ms, deadline_ms, named))
    }

    /// An update as a decision takes it: see [`super`] for its class.
    pub fn update(self, (id, priority): (ActivityId, u8), (now_ms, deadline_ms, named): (i64, i64, usize)) -> Spec {
        let plan = Self { class: Class::Critical, category: None, ..self };
        spec(plan, (id, priority), (now_ms, deadline_ms, named))
    }
}

/// It has no words of ours: what is shown goes beside them.
fn spec(plan: Plan, (id, priority): (ActivityId, u8), (at_ms, deadline_ms, named): (i64, i64, usize)) -> Spec {
    let apple = Apple { push_type: Some(PushKind::LIVE_ACTIVITY.word.to_owned()), priority: Some(priority), ..Apple::default() };
    let content = Content { apple: Some(Arc::new(apple)), ..Content::default() };
    let Plan { purpose, class, topic, category, mode } = plan;
    Spec {
        purpose,
        class,
        topic,
        category,
        audience: Kind::List { named },
        template: Template { fallback: UNDETERMINED.to_owned(), variants: [(UNDETERMINED.to_owned(), content)].into() },
        when: When::At(Time(at_ms)),
        window_ms: SPAN_MS_MAX,
        deliver_by: Some(Time(deadline_ms)),
        devices: Devices::All,
        mode,
        collapse_id: Some(id.to_string()),
    }
}

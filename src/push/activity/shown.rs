//! What goes out to one Live Activity: its start, its next state, or its end. Pure.

use super::frame::{Event, Frame, PAYLOAD_LIMIT_BYTES, Start};
use crate::error::Result;
use crate::id::ActivityId;
use crate::push::Stamp;
use crate::push::content::{Head, Kind};
use serde_json::json;

/// By this name the attributes of an activity that we start say which one it is.
pub const ID_ATTRIBUTE: &str = "kairos_activity_id";

/// A frame on its way to an activity.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Which activity.
    pub activity_id: ActivityId,
    /// What becomes of it.
    pub event: Event,
    /// What it shows.
    pub frame: Frame,
    /// What a start says besides; none in updates.
    pub start: Option<Start>,
    /// Phones show the latest: it rises strictly with each update.
    pub timestamp_s: i64,
    /// `apns-priority`: 5 or 10.
    pub priority: u8,
}

impl Shown {
    /// The body of the request.
    pub fn payload(&self, stamp: &Stamp) -> String {
        let &Stamp { message_id, decision_id, campaign_id, deadline_ms } = stamp;
        let kairos = json!({
            "message_id": message_id, "decision_id": decision_id, "campaign_id": campaign_id, "deadline_ms": deadline_ms,
        });
        self.frame.render((self.event, self.timestamp_s), self.start.as_ref(), Some(kairos))
    }

    /// What Apple is told beside the body.
    pub fn head(&self) -> String {
        let Kind { word, suffix, .. } = Kind::LIVE_ACTIVITY;
        Head { push_type: word, priority: self.priority, suffix }.text()
    }

    /// Refuses what no phone would get. Ids and times always have the same length: it is known before there are any.
    ///
    /// # Errors
    /// 400 that names the field that is too large.
    pub fn check_size(&self, deadline_ms: i64) -> Result<()> {
        let none = uuid::Uuid::nil();
        let stamp = Stamp { message_id: none.into(), decision_id: none.into(), campaign_id: none.into(), deadline_ms };
        self.frame.check_size(self.start.as_ref(), (self.payload(&stamp).len(), PAYLOAD_LIMIT_BYTES))
    }

    /// The same without a sound and a banner; a start has to have them.
    #[must_use]
    pub fn hushed(&self) -> Self {
        Self { frame: Frame { alert: None, ..self.frame.clone() }, ..self.clone() }
    }
}

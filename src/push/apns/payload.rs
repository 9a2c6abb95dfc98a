//! The JSON that a phone of Apple's gets: `aps`, `kairos`, and the app's own keys beside them.

use crate::push::{Content, Stamp};
use serde_json::{Map, Value, json};

/// Largest payload of a normal push, in bytes.
pub const PAYLOAD_LIMIT_BYTES: usize = 4_096;

/// Renders the body of the request.
pub fn render(content: &Content, stamp: &Stamp) -> String {
    let mut alert = Map::new();
    for (key, text) in [("title", &content.title), ("subtitle", &content.subtitle)] {
        if let Some(text) = text {
            alert.insert(key.to_owned(), Value::from(text.as_str()));
        }
    }
    alert.insert("body".to_owned(), Value::from(content.body.as_str()));
    let mut aps = Map::new();
    aps.insert("alert".to_owned(), Value::Object(alert));
    aps.insert("sound".to_owned(), Value::from(content.sound.as_deref().unwrap_or("default")));
    if content.image.is_some() {
        // Lets the app's extension fetch the image before the push is shown.
        aps.insert("mutable-content".to_owned(), Value::from(1));
    }
    let mut root = content.data.clone();
    for (key, text) in [("image", &content.image), ("link", &content.link)] {
        if let Some(text) = text {
            root.insert(key.to_owned(), Value::from(text.as_str()));
        }
    }
    // Last, so that the app's own data cannot take their place.
    root.insert("aps".to_owned(), Value::Object(aps));
    let kairos = json!({
        "message_id": stamp.message_id,
        "decision_id": stamp.decision_id,
        "campaign_id": stamp.campaign_id,
        "deadline_ms": stamp.deadline_ms,
    });
    root.insert("kairos".to_owned(), kairos);
    Value::Object(root).to_string()
}

//! The JSON that a phone with Google's services gets: `notification` and `data`, all of whose values are strings.

use crate::push::{Content, Push, Stamp};
use serde_json::{Map, Value, json};

/// Largest payload, in bytes of keys and values.
pub const PAYLOAD_LIMIT_BYTES: usize = 4_096;

/// Renders what does not change between attempts: the inside of `message` without target and delivery options.
pub fn render(content: &Content, stamp: &Stamp) -> String {
    let mut notification = Map::new();
    for (key, text) in [("title", content.title.as_deref()), ("image", content.image.as_deref())] {
        if let Some(text) = text {
            notification.insert(key.to_owned(), Value::from(text));
        }
    }
    notification.insert("body".to_owned(), Value::from(content.body.as_str()));
    let mut data = Map::new();
    for (key, value) in &content.data {
        let reserved = matches!(key.as_str(), "from" | "message_type" | "notification")
            || key.starts_with("google.")
            || key.starts_with("gcm.")
            || key.starts_with("kairos_");
        if !reserved {
            data.insert(key.clone(), Value::from(value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    }
    if let Some(link) = &content.link {
        data.insert("link".to_owned(), Value::from(link.as_str()));
    }
    data.insert("kairos_message_id".to_owned(), Value::from(stamp.message_id.to_string()));
    data.insert("kairos_decision_id".to_owned(), Value::from(stamp.decision_id.to_string()));
    data.insert("kairos_campaign_id".to_owned(), Value::from(stamp.campaign_id.to_string()));
    data.insert("kairos_deadline_ms".to_owned(), Value::from(stamp.deadline_ms.to_string()));
    json!({ "notification": notification, "data": data }).to_string()
}

/// What Google counts of a rendered payload: keys and values.
pub fn size_bytes(payload: &str) -> usize {
    fn count(value: &Value) -> usize {
        match value {
            Value::Object(map) => map.iter().map(|(k, v)| k.len() + count(v)).sum(),
            Value::String(text) => text.len(),
            other => other.to_string().len(),
        }
    }
    serde_json::from_str::<Map<String, Value>>(payload).map_or(usize::MAX, |parts| parts.values().map(count).sum())
}

/// The whole request body, with the time to live that is left now, rounded down to the second.
pub(super) fn envelope(push: &Push, now_ms: i64) -> Option<String> {
    // Four weeks are the most that Google takes.
    let ttl_s = (push.deadline_ms - now_ms).max(0).div_euclid(1_000).min(2_419_200);
    let inside = std::str::from_utf8(&push.payload).ok()?.strip_prefix('{')?.strip_suffix('}')?;
    let collapse = serde_json::to_string(&push.collapse_id).ok()?;
    let token = serde_json::to_string(&push.token).ok()?;
    Some(format!(
        r#"{{"message":{{"token":{token},"android":{{"collapseKey":{collapse},"priority":"high","ttl":"{ttl_s}s","notification":{{"tag":{collapse}}}}},{inside}}}}}"#
    ))
}

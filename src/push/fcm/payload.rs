//! The JSON that a phone with Google's services gets: `notification` and `data`, all of whose values are strings.

use super::android;
use crate::people::device::{FID_PREFIX, address};
use crate::push::content::{Badge, Content};
use crate::push::{Push, Stamp};
use serde_json::{Map, Value, json};

/// Largest payload, in bytes of keys and values.
pub const PAYLOAD_LIMIT_BYTES: usize = 4_096;

/// Renders what does not change between attempts: the inside of `message` without its target and time to live. The block
/// `android` is there only where it says more than [`envelope`] does by itself.
pub fn render(content: &Content, stamp: &Stamp, collapse_id: &str) -> String {
    let shown = content.has_words() && !content.silent;
    let mut message = Map::new();
    if let Some(block) = android::block(content, collapse_id, shown) {
        message.insert("android".to_owned(), Value::Object(block));
    }
    if shown {
        let mut notification = Map::new();
        for (key, text) in [
            ("title", content.title.as_deref()),
            ("body", Some(content.body.as_str()).filter(|body| !body.is_empty())),
            ("image", content.image.as_deref()),
        ] {
            if let Some(text) = text {
                notification.insert(key.to_owned(), Value::from(text));
            }
        }
        if !notification.is_empty() {
            message.insert("notification".to_owned(), Value::Object(notification));
        }
    }
    message.insert("data".to_owned(), Value::Object(data(content, stamp)));
    message.insert("fcmOptions".to_owned(), json!({ "analyticsLabel": stamp.campaign_id }));
    Value::Object(message).to_string()
}

fn data(content: &Content, stamp: &Stamp) -> Map<String, Value> {
    let mut data = Map::new();
    let androids = content.android.iter().flat_map(|android| &android.data);
    for (key, value) in content.data.iter().chain(androids) {
        data.insert(key.clone(), Value::from(value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    if let Some(link) = &content.link {
        data.insert("link".to_owned(), Value::from(link.as_str()));
    }
    if let Some(number) = content.badge.and_then(Badge::number) {
        data.insert("kairos_badge".to_owned(), Value::from(number.to_string()));
    }
    data.insert("kairos_message_id".to_owned(), Value::from(stamp.message_id.to_string()));
    data.insert("kairos_decision_id".to_owned(), Value::from(stamp.decision_id.to_string()));
    data.insert("kairos_campaign_id".to_owned(), Value::from(stamp.campaign_id.to_string()));
    data.insert("kairos_deadline_ms".to_owned(), Value::from(stamp.deadline_ms.to_string()));
    data
}

/// What Google counts of a rendered payload: the keys and values of what reaches the phone.
pub fn size_bytes(payload: &str, collapse_id: &str) -> usize {
    let Ok(message) = serde_json::from_str::<Map<String, Value>>(payload) else { return usize::MAX };
    let part = |at: &Value, key: &str| at.get(key).map_or(0, count);
    let top = message.get("notification").map_or(0, count) + message.get("data").map_or(0, count);
    match message.get("android") {
        Some(android) => top + part(android, "notification"),
        None => top + "tag".len() + collapse_id.len(),
    }
}

/// The bytes of all keys and values.
pub(in crate::push) fn count(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + count(v)).sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        Value::String(text) => text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string().len(),
    }
}

/// The whole request body, with the time to live that is left now, rounded down to the second.
pub(super) fn envelope(push: &Push, now_ms: i64) -> Option<String> {
    // Four weeks are the most that Google takes.
    let ttl_s = (push.deadline_ms - now_ms).max(0).div_euclid(1_000).min(2_419_200);
    let inside = std::str::from_utf8(&push.payload).ok()?.strip_prefix('{')?.strip_suffix('}')?;
    // Some devices are addressed by their installation's id.
    let address = address(&push.token);
    let (target, address) = address.strip_prefix(FID_PREFIX).map_or(("token", address), |fid| ("fid", fid));
    let address = serde_json::to_string(address).ok()?;
    if let Some(rest) = inside.strip_prefix(r#""android":{"#) {
        return Some(format!(r#"{{"message":{{"{target}":{address},"android":{{"ttl":"{ttl_s}s",{rest}}}}}"#));
    }
    let collapse = serde_json::to_string(&push.collapse_id).ok()?;
    Some(format!(
        r#"{{"message":{{"{target}":{address},"android":{{"collapseKey":{collapse},"priority":"high","ttl":"{ttl_s}s","notification":{{"tag":{collapse}}}}},{inside}}}}}"#
    ))
}

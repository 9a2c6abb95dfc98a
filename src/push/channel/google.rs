//! What Google is told of a broadcast: a message to a topic, all data, which the app on the phone shows as it likes.

use super::broadcast::{Broadcast, NewBroadcast};
use super::store::Channel;
use crate::clock::Time;
use crate::error::{Error, Problem, Result};
use crate::outbound::{Answer, Outgoing};
use crate::push::ending::Held;
use crate::push::fcm;
use crate::push::lane::Lane;
use crate::push::verdict::Verdict;
use http::HeaderValue;
use serde_json::{Map, Value, json};

/// Most bytes of keys and values of a message to a topic.
const LIMIT_BYTES: usize = 2_048;

/// The data of a broadcast, as it is stored: texts, as Google wants them.
///
/// # Errors
/// 400 that names the field when it is too large.
pub(super) fn render(new: &NewBroadcast, (channel, timestamp_s, deadline_ms): (&Channel, i64, i64)) -> Result<String> {
    let NewBroadcast { id, event, frame, .. } = new;
    let mut data = Map::new();
    let mut put = |key: &str, text: String| drop(data.insert(key.to_owned(), Value::from(text)));
    put("event", event.name().to_owned());
    put("timestamp", timestamp_s.to_string());
    put("content_state", Value::Object(frame.content_state.clone()).to_string());
    for (key, at_ms) in [("stale_at", frame.stale_ms), ("dismissal_at", frame.dismissal_ms)] {
        if let Some(at_ms) = at_ms {
            put(key, Time(at_ms).to_string());
        }
    }
    if let Some(score) = frame.relevance {
        put("relevance_score", score.to_string());
    }
    if let Some(alert) = &frame.alert {
        put("alert", serde_json::to_string(alert).map_err(Error::broken)?);
    }
    put("kairos_channel_id", channel.id.to_string());
    put("kairos_broadcast_id", id.to_string());
    put("kairos_deadline_ms", deadline_ms.to_string());
    let size = |(key, value): (&String, &Value)| (key.clone(), key.len() + fcm::count(value));
    let bytes: usize = data.iter().map(size).map(|(_, bytes)| bytes).sum();
    if bytes > LIMIT_BYTES {
        let (field, own) = data.iter().map(size).max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
        let over = bytes - LIMIT_BYTES;
        let message = format!(
            "a message to a topic has {bytes} bytes, Google takes {LIMIT_BYTES}: {over} too many, and this field has {own}"
        );
        return Err(Problem::new(400, "payload_too_large", format!("{field}: {message}"))
            .field(field, "too_long", message)
            .into());
    }
    Ok(Value::Object(data).to_string())
}

/// A broadcast as a request, as it has to look now.
///
/// # Errors
/// Why it is not sent, or not now.
pub(super) fn request(
    lane: &Lane,
    (broadcast, channel): (&Broadcast, &Channel),
    now_ms: i64,
) -> Result<(Outgoing, HeaderValue), Held> {
    // Another push's refusal may have taken the token that was there a moment ago: a new one is on its way.
    let (client, bearer) = lane.google(now_ms).ok_or(Held::Slotless)?;
    let topic = channel.name.as_deref().ok_or(Held::Impossible("channel_not_live"))?;
    let data: Value = serde_json::from_str(&broadcast.payload).map_err(|_| Held::Impossible("malformed_payload"))?;
    Ok((client.post(&bearer, body((broadcast, topic), &data, now_ms).to_string()), bearer))
}

/// The request's body: Androids, and the iPhones and browsers that have subscribed to the topic by Firebase, get the same.
/// An iPhone is woken as Apple allows for what shows nothing: in the background, at priority 5.
fn body((broadcast, topic): (&Broadcast, &str), data: &Value, now_ms: i64) -> Value {
    // Rounded down, so that nobody holds it longer than we may; nothing left of it means now or never.
    let ttl_s = (broadcast.keep_until_ms - now_ms).max(0).div_euclid(1_000);
    let expiration_s = if ttl_s == 0 { 0 } else { broadcast.keep_until_ms.div_euclid(1_000) };
    let urgency = if broadcast.priority == 10 { "high" } else { "normal" };
    json!({"message": {
        "topic": topic,
        "android": {"collapseKey": topic, "priority": urgency, "ttl": format!("{ttl_s}s")},
        "apns": {
            "headers": {"apns-push-type": "background", "apns-priority": "5", "apns-expiration": expiration_s.to_string()},
            "payload": {"aps": {"content-available": 1}},
        },
        "webpush": {"headers": {"TTL": ttl_s.to_string(), "Urgency": urgency}},
        "data": data,
        "fcmOptions": {"analyticsLabel": topic},
    }})
}

/// What an answer to a broadcast means: there is no token in it that could be dead.
pub(super) fn judge(answer: &Answer, now_ms: i64) -> Verdict {
    match fcm::judge(answer, now_ms, now_ms) {
        Verdict::Unregistered { .. } => Verdict::Rejected("unregistered".into()),
        other => other,
    }
}

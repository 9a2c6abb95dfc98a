//! The JSON that a phone of Apple's gets: `aps`, `kairos`, and the app's own keys beside them.

use crate::push::Stamp;
use crate::push::content::{Badge, Content, InterruptionLevel, Localised, Shape, Sound};
use serde_json::{Map, Value, json};

/// Largest payload of a normal push, in bytes.
pub const PAYLOAD_LIMIT_BYTES: usize = 4_096;

/// Renders the body of the request.
pub fn render(content: &Content, stamp: &Stamp) -> String {
    let mut root = content.data.clone();
    for (key, text) in [("image", &content.image), ("link", &content.link)] {
        if let Some(text) = text {
            root.insert(key.to_owned(), Value::from(text.as_str()));
        }
    }
    // Last, so that the app's own data cannot take their place.
    root.insert("aps".to_owned(), Value::Object(aps(content)));
    let kairos = json!({
        "message_id": stamp.message_id,
        "decision_id": stamp.decision_id,
        "campaign_id": stamp.campaign_id,
        "deadline_ms": stamp.deadline_ms,
    });
    root.insert("kairos".to_owned(), kairos);
    Value::Object(root).to_string()
}

/// What Apple's own code reads.
fn aps(content: &Content) -> Map<String, Value> {
    let mut aps = Map::new();
    let mut flag = |key: &str| aps.insert(key.to_owned(), Value::from(1));
    match content.kind().shape {
        Shape::Background => {
            flag("content-available");
            return aps;
        }
        Shape::Changed => {
            aps.insert("content-changed".to_owned(), Value::from(true));
            return aps;
        }
        Shape::Shown | Shape::Free => {}
    }
    if content.image.is_some() || content.mutable_content {
        // Lets the app's extension fetch the image before the push is shown.
        flag("mutable-content");
    }
    let apple = content.apple.as_deref();
    if apple.is_some_and(|apple| apple.content_available) {
        flag("content-available");
    }
    if content.has_words() {
        aps.insert("alert".to_owned(), Value::Object(alert(content)));
    }
    if let Some(sound) = sound(content) {
        aps.insert("sound".to_owned(), sound);
    }
    if let Some(number) = content.badge.and_then(Badge::number) {
        aps.insert("badge".to_owned(), Value::from(number));
    }
    let level = content.interruption_level.map(InterruptionLevel::word);
    for (key, text) in [
        ("thread-id", content.thread.as_deref()),
        ("category", content.category.as_deref()),
        ("interruption-level", level),
        ("target-content-id", apple.and_then(|apple| apple.target_content_id.as_deref())),
        ("filter-criteria", apple.and_then(|apple| apple.filter_criteria.as_deref())),
    ] {
        if let Some(text) = text {
            aps.insert(key.to_owned(), Value::from(text));
        }
    }
    if let Some(relevance) = content.relevance {
        aps.insert("relevance-score".to_owned(), Value::from(relevance.number()));
    }
    aps
}

fn alert(content: &Content) -> Map<String, Value> {
    let mut alert = Map::new();
    let launch_image = content.apple.as_ref().and_then(|apple| apple.launch_image.as_deref());
    for (key, text) in [
        ("title", content.title.as_deref()),
        ("subtitle", content.subtitle.as_deref()),
        ("body", Some(content.body.as_str()).filter(|body| !body.is_empty())),
        ("launch-image", launch_image),
    ] {
        if let Some(text) = text {
            alert.insert(key.to_owned(), Value::from(text));
        }
    }
    let mut translated = |prefix: &str, key: &Option<Localised>| {
        let Some(Localised { key, args }) = key else { return };
        alert.insert(format!("{prefix}loc-key"), Value::from(key.as_str()));
        if !args.is_empty() {
            alert.insert(format!("{prefix}loc-args"), Value::from(args.as_slice()));
        }
    };
    translated("title-", &content.title_key);
    translated("subtitle-", &content.subtitle_key);
    translated("", &content.body_key);
    alert
}

/// Words are heard unless somebody said otherwise; what has none is not.
fn sound(content: &Content) -> Option<Value> {
    match &content.sound {
        Some(Sound::None) => None,
        Some(Sound::Named(name)) => Some(Value::from(name.as_str())),
        Some(Sound::Critical { name, volume }) => Some(json!({ "critical": 1, "name": name, "volume": volume.number() })),
        None if content.has_words() && content.interruption_level != Some(InterruptionLevel::Passive) => {
            Some(Value::from("default"))
        }
        None => None,
    }
}

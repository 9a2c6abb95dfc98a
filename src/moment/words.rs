//! What a push says, read back from its payload of either gateway. Pure.

use crate::push::CLEAR;
use serde_json::{Map, Value};

/// The words of a push, as the person gets them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Words {
    /// First line.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// URL of an image.
    pub image: Option<String>,
    /// What the app opens on a tap.
    pub link: Option<String>,
    /// The app's own keys.
    pub data: Map<String, Value>,
}

impl Words {
    /// Reads them; what is not there is absent.
    pub fn of(payload: &str) -> Self {
        let mut payload: Value = serde_json::from_str(payload).unwrap_or_default();
        if let Some(Value::Object(message)) = payload.get_mut("message").map(Value::take) {
            payload = Value::Object(message);
        }
        // Words that go out encrypted stand apart in what is stored.
        if let Some(clear) = payload.get_mut(CLEAR).map(Value::take) {
            payload = clear;
        }
        let text = |at: &str| payload.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let first = |all: [&str; 3]| all.into_iter().find_map(text);
        let mut words = Self {
            title: first(["/aps/alert/title", "/notification/title", "/title"]),
            body: first(["/aps/alert/body", "/notification/body", "/body"]).or_else(|| text("/aps/alert")),
            image: first(["/image", "/notification/image", "/data/image"]),
            link: first(["/link", "/data/link", "/url"]),
            data: Map::new(),
        };
        let own = if payload.get("aps").is_some() { Some(&payload) } else { payload.get("data") };
        let reserved = |key: &str| matches!(key, "aps" | "kairos" | "image" | "link") || key.starts_with("kairos_");
        let own = own.and_then(Value::as_object).into_iter().flatten().filter(|(key, _)| !reserved(key));
        words.data.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        words
    }
}

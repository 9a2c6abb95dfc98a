//! The JSON that a page's service worker gets: what to show, the app's own keys in `data`, `kairos` beside them.

use crate::push::Stamp;
use crate::push::content::{Badge, Content, Priority, Web};
use serde_json::{Map, Value, json};

/// Renders what is encrypted. The words and options bear the names that `showNotification()` has for them.
pub fn render(content: &Content, stamp: &Stamp, collapse_id: &str) -> String {
    let mut root = Map::new();
    if !content.silent {
        shown(content, &mut root);
    }
    // Pushes with the same tag replace each other in the browser.
    let tag = content.web.as_ref().and_then(|web| web.tag.as_deref()).unwrap_or(collapse_id);
    root.insert("tag".to_owned(), Value::from(tag));
    let mut data = content.data.clone();
    if let Some(link) = &content.link {
        data.insert("link".to_owned(), Value::from(link.as_str()));
    }
    // The app's own keys never begin so: neither takes the place of the other.
    data.insert("kairos_message_id".to_owned(), Value::from(stamp.message_id.to_string()));
    root.insert("data".to_owned(), Value::Object(data));
    let kairos = json!({
        "message_id": stamp.message_id,
        "decision_id": stamp.decision_id,
        "campaign_id": stamp.campaign_id,
        "deadline_ms": stamp.deadline_ms,
    });
    root.insert("kairos".to_owned(), kairos);
    // The number on the icon of an installed page: `navigator.setAppBadge()`.
    if let Some(number) = content.badge.and_then(Badge::number) {
        root.insert("app_badge".to_owned(), Value::from(number));
    }
    Value::Object(root).to_string()
}

fn shown(content: &Content, root: &mut Map<String, Value>) {
    for (key, text) in [
        ("title", content.title.as_deref()),
        ("body", Some(content.body.as_str()).filter(|body| !body.is_empty())),
        ("image", content.image.as_deref()),
    ] {
        if let Some(text) = text {
            root.insert(key.to_owned(), Value::from(text));
        }
    }
    // A page has its translations in its worker.
    for (name, key) in [("title_key", &content.title_key), ("body_key", &content.body_key)] {
        if let Some(key) = key {
            root.insert(name.to_owned(), json!({ "key": key.key, "args": key.args }));
        }
    }
    if let Some(web) = content.web.as_deref() {
        options(web, root);
    }
}

fn options(web: &Web, root: &mut Map<String, Value>) {
    for (key, url) in [("icon", &web.icon), ("badge", &web.badge)] {
        if let Some(url) = url {
            root.insert(key.to_owned(), Value::from(url.as_str()));
        }
    }
    for (key, on) in [("requireInteraction", web.require_interaction), ("silent", web.silent), ("renotify", web.renotify)] {
        if on {
            root.insert(key.to_owned(), Value::from(true));
        }
    }
    if !web.vibrate_ms.is_empty() {
        root.insert("vibrate".to_owned(), json!(web.vibrate_ms));
    }
    if !web.actions.is_empty() {
        root.insert("actions".to_owned(), json!(web.actions));
    }
}

/// What stands in `urgency`, as it is kept with a message; none for the usual: high.
pub fn head(content: &Content) -> Option<String> {
    match content.priority() {
        Priority::High => None,
        Priority::Normal => Some(NORMAL.to_owned()),
    }
}

/// The urgency of what can wait until the browser's device has leisure.
pub const NORMAL: &str = "normal";

/// The urgency of a push.
pub(super) fn urgency(head: Option<&str>) -> &'static str {
    if head == Some(NORMAL) { NORMAL } else { "high" }
}

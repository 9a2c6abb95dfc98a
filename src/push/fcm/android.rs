//! The block `android` of a message, and in it `notification`, in Google's names.

use crate::id::{ChoiceId, MessageId};
use crate::push::content::{Android, Content, LightSettings, Localised, Priority, Sound};
use serde_json::{Map, Value, json};

/// The block `android` without its time to live; none where the envelope's own says all there is to say.
pub(super) fn block(content: &Content, collapse_id: &str, shown: bool) -> Option<Map<String, Value>> {
    let own = content.android.as_deref();
    let priority = own.and_then(|android| android.priority).unwrap_or(content.priority());
    let mut notification = if shown { notification(content) } else { Map::new() };
    let mut block = Map::new();
    if let Some(android) = own {
        for (key, is) in [("directBootOk", android.direct_boot_ok), ("bandwidthConstrainedOk", android.bandwidth_constrained_ok)]
        {
            if is {
                block.insert(key.to_owned(), Value::from(true));
            }
        }
        if let Some(package) = &android.restricted_package_name {
            block.insert("restrictedPackageName".to_owned(), Value::from(package.as_str()));
        }
    }
    if shown && notification.is_empty() && block.is_empty() && priority == Priority::High {
        return None;
    }
    if shown {
        let tag = own.and_then(|android| android.tag.as_deref()).unwrap_or(collapse_id);
        notification.insert("tag".to_owned(), Value::from(tag));
        block.insert("notification".to_owned(), Value::Object(notification));
    }
    if shown || is_named(collapse_id) {
        block.insert("collapseKey".to_owned(), Value::from(collapse_id));
    }
    block.insert("priority".to_owned(), Value::from(priority.word()));
    Some(block)
}

/// Whether an author has named it. Of messages that only carry data Google keeps a hundred for a phone that is off, but four of
/// those with a key: none of ours is worth that.
pub(in crate::push) fn is_named(collapse_id: &str) -> bool {
    collapse_id.parse::<ChoiceId>().is_err() && collapse_id.parse::<MessageId>().is_err()
}

/// What Google's phones show beside title, text and image; without the tag, unless the author names one.
fn notification(content: &Content) -> Map<String, Value> {
    let mut out = Map::new();
    let sound = match &content.sound {
        Some(Sound::Named(name) | Sound::Critical { name, .. }) if name != "default" => Some(name.as_str()),
        Some(Sound::Named(_) | Sound::Critical { .. } | Sound::None) | None => None,
    };
    let own = content.android.as_deref();
    let of = |field: fn(&Android) -> &Option<String>| own.and_then(|android| field(android).as_deref());
    for (key, text) in [
        ("sound", sound),
        ("clickAction", of(|a| &a.click_action).or(content.category.as_deref())),
        ("channelId", of(|a| &a.channel_id)),
        ("icon", of(|a| &a.icon)),
        ("color", of(|a| &a.color)),
        ("tag", of(|a| &a.tag)),
        ("ticker", of(|a| &a.ticker)),
        ("image", of(|a| &a.image)),
    ] {
        if let Some(text) = text {
            out.insert(key.to_owned(), Value::from(text));
        }
    }
    let mut translated = |prefix: &str, key: &Option<Localised>| {
        let Some(Localised { key, args }) = key else { return };
        out.insert(format!("{prefix}LocKey"), Value::from(key.as_str()));
        if !args.is_empty() {
            out.insert(format!("{prefix}LocArgs"), Value::from(args.as_slice()));
        }
    };
    translated("title", &content.title_key);
    translated("body", &content.body_key);
    if let Some(android) = own {
        shown_by(android, &mut out);
    }
    out
}

fn shown_by(android: &Android, out: &mut Map<String, Value>) {
    for (key, is) in [
        ("sticky", android.sticky),
        ("localOnly", android.local_only),
        ("defaultSound", android.default_sound),
        ("defaultVibrateTimings", android.default_vibrate_timings),
        ("defaultLightSettings", android.default_light_settings),
    ] {
        if is {
            out.insert(key.to_owned(), Value::from(true));
        }
    }
    let capital = |word: &str| Value::from(word.to_ascii_uppercase());
    if let Some(visibility) = android.visibility {
        out.insert("visibility".to_owned(), capital(visibility.word()));
    }
    if let Some(priority) = android.notification_priority {
        out.insert("notificationPriority".to_owned(), capital(&format!("priority_{}", priority.word())));
    }
    if let Some(proxy) = android.proxy {
        out.insert("proxy".to_owned(), capital(proxy.word()));
    }
    if let Some(number) = android.notification_count {
        out.insert("notificationCount".to_owned(), Value::from(number));
    }
    if let Some(time) = android.event_time {
        out.insert("eventTime".to_owned(), Value::from(time.to_string()));
    }
    if !android.vibrate_timings_ms.is_empty() {
        let timings: Vec<String> = android.vibrate_timings_ms.iter().map(|ms| seconds(*ms)).collect();
        out.insert("vibrateTimings".to_owned(), Value::from(timings));
    }
    if let Some(LightSettings { color, on_ms, off_ms }) = &android.light_settings {
        let channel = |at: usize| {
            let byte = color.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
            f64::from(byte) / 255.0
        };
        let color = json!({"red": channel(1), "green": channel(3), "blue": channel(5), "alpha": 1.0});
        let light = json!({"color": color, "lightOnDuration": seconds(*on_ms), "lightOffDuration": seconds(*off_ms)});
        out.insert("lightSettings".to_owned(), light);
    }
}

/// A span as Google writes it: `0.250s`.
fn seconds(ms: u32) -> String {
    format!("{}.{:03}s", ms / 1_000, ms % 1_000)
}

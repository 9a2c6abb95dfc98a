//! The block `android` of a message as Google reads it: names, kinds and ranges of its fields.

use super::fcm::{Options, size_of};
use serde::Deserialize;
use serde_json::{Map, Value};

const TTL_MAX_S: f64 = 2_419_200.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "some fields may be anything of their kind: reading them is the check")]
pub(super) struct Android {
    pub(super) collapse_key: Option<String>,
    priority: Option<String>,
    ttl: Option<String>,
    notification: Option<Map<String, Value>>,
    #[serde(default)]
    data: Map<String, Value>,
    restricted_package_name: Option<String>,
    direct_boot_ok: Option<bool>,
    bandwidth_constrained_ok: Option<bool>,
    fcm_options: Option<Options>,
}

/// Google's own fields of a notification.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "some fields may be anything of their kind: reading them is the check")]
struct Notification {
    title: Option<String>,
    body: Option<String>,
    icon: Option<String>,
    color: Option<String>,
    sound: Option<String>,
    tag: Option<String>,
    click_action: Option<String>,
    title_loc_key: Option<String>,
    #[serde(default)]
    title_loc_args: Vec<String>,
    body_loc_key: Option<String>,
    #[serde(default)]
    body_loc_args: Vec<String>,
    channel_id: Option<String>,
    ticker: Option<String>,
    sticky: Option<bool>,
    event_time: Option<String>,
    local_only: Option<bool>,
    notification_priority: Option<String>,
    default_sound: Option<bool>,
    default_vibrate_timings: Option<bool>,
    #[serde(default)]
    vibrate_timings: Vec<String>,
    default_light_settings: Option<bool>,
    light_settings: Option<Light>,
    visibility: Option<String>,
    notification_count: Option<i64>,
    image: Option<String>,
    proxy: Option<String>,
    bypass_proxy_notification: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Light {
    color: Color,
    light_on_duration: String,
    light_off_duration: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Color {
    #[serde(default)]
    red: f64,
    #[serde(default)]
    green: f64,
    #[serde(default)]
    blue: f64,
    #[serde(default)]
    alpha: f64,
}

/// A span such as `3.5s`, in seconds.
fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok().filter(|s: &f64| *s >= 0.0)
}

impl Android {
    pub(super) fn ttl_s(&self) -> Option<f64> {
        seconds(self.ttl.as_deref()?)
    }

    /// The field at fault.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let word = |text: &Option<String>, words: &[&str]| text.as_deref().is_none_or(|text| words.contains(&text));
        let given = |text: &Option<String>| text.as_deref() != Some("");
        let good = [
            ("message.android.ttl", self.ttl.is_none() || self.ttl_s().is_some_and(|s| s <= TTL_MAX_S)),
            ("message.android.priority", word(&self.priority, &["normal", "high", "NORMAL", "HIGH"])),
            ("message.android.restricted_package_name", given(&self.restricted_package_name)),
            ("message.android.data", self.data.values().all(Value::is_string)),
            ("message.android.fcm_options", self.fcm_options.as_ref().is_none_or(Options::is_valid)),
        ];
        if let Some((field, _)) = good.into_iter().find(|(_, good)| !good) {
            return Err(field);
        }
        let Some(notification) = &self.notification else { return Ok(()) };
        match serde_json::from_value::<Notification>(Value::Object(notification.clone())) {
            Ok(notification) => notification.check(),
            Err(_) => Err("message.android.notification"),
        }
    }

    /// What Google counts of it.
    pub(super) fn size_bytes(&self) -> usize {
        let notification = self.notification.as_ref().map_or(0, size_of);
        notification + size_of(&self.data)
    }
}

impl Notification {
    fn check(&self) -> Result<(), &'static str> {
        let word = |text: &Option<String>, words: &[&str]| text.as_deref().is_none_or(|text| words.contains(&text));
        let rgb = |c: &str| c.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let priorities =
            ["PRIORITY_UNSPECIFIED", "PRIORITY_MIN", "PRIORITY_LOW", "PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_MAX"];
        let arguments = |key: &Option<String>, args: &[String]| key.is_some() || args.is_empty();
        let checks = [
            ("message.android.notification.color", self.color.as_deref().is_none_or(rgb)),
            ("message.android.notification.title_loc_args", arguments(&self.title_loc_key, &self.title_loc_args)),
            ("message.android.notification.body_loc_args", arguments(&self.body_loc_key, &self.body_loc_args)),
            ("message.android.notification.event_time", self.event_time.as_deref().is_none_or(is_time)),
            ("message.android.notification.notification_priority", word(&self.notification_priority, &priorities)),
            ("message.android.notification.vibrate_timings", self.vibrate_timings.iter().all(|t| seconds(t).is_some())),
            ("message.android.notification.light_settings", self.light_settings.as_ref().is_none_or(Light::is_valid)),
            ("message.android.notification.visibility", word(&self.visibility, &["PRIVATE", "PUBLIC", "SECRET"])),
            ("message.android.notification.notification_count", self.notification_count.is_none_or(|n| n >= 0)),
            ("message.android.notification.proxy", word(&self.proxy, &["ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
        ];
        checks.into_iter().find(|(_, good)| !good).map_or(Ok(()), |(field, _)| Err(field))
    }
}

impl Light {
    fn is_valid(&self) -> bool {
        let Color { red, green, blue, alpha } = self.color;
        [red, green, blue, alpha].iter().all(|share| (0.0..=1.0).contains(share))
            && [&self.light_on_duration, &self.light_off_duration].iter().all(|span| seconds(span).is_some())
    }
}

/// RFC 3339.
fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}

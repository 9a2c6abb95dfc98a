//! A content at the edge: every field limited, every contradiction named, nothing dropped in silence.

use super::kind::Shape;
use super::limits::{Faults, is_data_key, is_id};
use super::parts::BADGE_MAX;
use super::sound::NAME_BYTES_MAX;
use super::{Android, Apple, Badge, Content, InterruptionLevel, Kind, Sound, Web, is_template};
use crate::error::FieldError;
use serde_json::{Map, Value};

/// Longest source of a text, in bytes: no push can carry more than 4,096.
pub const SOURCE_BYTES_MAX: usize = 4_096;
/// Longest URL, in bytes.
pub(super) const URL_BYTES_MAX: usize = 2_048;
/// Most entries of `data`.
const DATA_MAX: usize = 20;
/// Most bytes of a value of `data` that is no text.
const JSON_BYTES_MAX: usize = 2_048;
const NAME_MAX: usize = 200;
const ARGS_MAX: usize = 20;

impl Content {
    /// Checks everything that can be judged before a person is known. `at` is the name of the content in its body, empty
    /// at the top.
    pub fn check(&self, at: &str) -> Vec<FieldError> {
        let mut faults = Faults::new(at);
        self.check_words(&mut faults);
        self.check_encrypted(&mut faults);
        self.check_look(&mut faults);
        self.check_data(&mut faults, "data", &self.data);
        if let Some(apple) = &self.apple {
            check_apple(&mut faults, apple);
        }
        if let Some(android) = &self.android {
            check_android(&mut faults, android);
            if self.encrypted.is_some() && android.image.as_deref().is_some_and(is_template) {
                faults.refuse("android.image", "invalid", "the gateway reads it: nothing of a person stands in it");
            }
            self.check_data(&mut faults, "android.data", &android.data);
        }
        if let Some(web) = &self.web {
            check_web(&mut faults, web);
        }
        self.check_whole(&mut faults);
        if faults.is_clean()
            && let Some(large) = self.too_large()
        {
            faults.refuse(&large.field, "too_long", large.to_string());
        }
        faults.finish()
    }

    fn check_words(&self, faults: &mut Faults) {
        let body = Some(self.body.as_str()).filter(|body| !body.is_empty());
        for (field, text) in [("title", self.title.as_deref()), ("subtitle", self.subtitle.as_deref()), ("body", body)] {
            faults.text(field, text, SOURCE_BYTES_MAX);
        }
        for (field, key) in self.keys() {
            faults.text(&format!("{field}.key"), Some(&key.key), NAME_MAX);
            if key.args.len() > ARGS_MAX {
                faults.refuse(format!("{field}.args"), "too_long", format!("must have at most {ARGS_MAX} items"));
            }
            if key.args.iter().any(|arg| arg.len() > SOURCE_BYTES_MAX) {
                faults.refuse(format!("{field}.args"), "too_long", format!("each must have at most {SOURCE_BYTES_MAX} bytes"));
            }
        }
        for (field, text, key) in [
            ("title", self.title.is_some(), self.title_key.is_some()),
            ("subtitle", self.subtitle.is_some(), self.subtitle_key.is_some()),
            ("body", body.is_some(), self.body_key.is_some()),
        ] {
            if text && key {
                faults.refuse(
                    format!("{field}_key"),
                    "invalid",
                    format!("stands in the place of `{field}`: leave one of them out"),
                );
            }
        }
        faults.https("image", self.image.as_deref());
        faults.text("link", self.link.as_deref(), URL_BYTES_MAX);
        if self.link.as_deref().is_some_and(|link| !is_template(link) && link.contains(char::is_whitespace)) {
            faults.refuse("link", "invalid", "must be a link without spaces");
        }
    }

    fn check_look(&self, faults: &mut Faults) {
        match &self.sound {
            None | Some(Sound::None) => {}
            Some(Sound::Named(name)) => faults.text("sound", Some(name), NAME_BYTES_MAX),
            Some(Sound::Critical { name, .. }) => faults.text("sound.name", Some(name), NAME_BYTES_MAX),
        }
        match self.badge {
            None | Some(Badge::Clear) => {}
            Some(Badge::Set(number)) => faults.range("badge.set", Some(number), 0..=BADGE_MAX),
            Some(Badge::Increment(number)) => faults.range("badge.increment", Some(number), 1..=BADGE_MAX),
        }
        for (field, id) in [("thread", &self.thread), ("collapse_id", &self.collapse_id)] {
            match id.as_deref() {
                Some(id) if is_template(id) => faults.text(field, Some(id), SOURCE_BYTES_MAX),
                Some(id) if !is_id(id) => faults.refuse(field, "invalid", "must be 1 to 64 visible ASCII characters"),
                Some(_) | None => {}
            }
        }
        faults.text("category", self.category.as_deref(), 64);
        faults.range("ttl_limit_ms", self.ttl_limit_ms, 1_000..=2_419_200_000);
    }

    fn check_data(&self, faults: &mut Faults, at: &str, data: &Map<String, Value>) {
        if data.len() > DATA_MAX {
            faults.refuse(at, "too_long", format!("must have 0 to {DATA_MAX} items"));
        }
        for (key, value) in data {
            let field = format!("{at}.{key}");
            if !is_data_key(key) {
                let message = "a key has 1 to 64 letters, digits, `_` or `-`, and is none that the gateways or Kairos use";
                faults.refuse(&field, "invalid", message);
            }
            if key == "image" && self.image.is_some() || key == "link" && self.link.is_some() {
                faults.refuse(&field, "invalid", format!("the field `{key}` says that already"));
            }
            match value {
                Value::String(text) if text.len() > SOURCE_BYTES_MAX => {
                    faults.refuse(&field, "too_long", format!("must have at most {SOURCE_BYTES_MAX} bytes"));
                }
                Value::String(_) | Value::Bool(_) | Value::Number(_) => {}
                Value::Null => faults.refuse(&field, "invalid", "must not be null; leave it out instead"),
                Value::Array(_) | Value::Object(_) if value.to_string().len() > JSON_BYTES_MAX => {
                    faults.refuse(&field, "too_long", format!("must have at most {JSON_BYTES_MAX} bytes"));
                }
                Value::Array(_) | Value::Object(_) => {}
            }
        }
    }

    /// What must not, or has to, stand together.
    fn check_whole(&self, faults: &mut Faults) {
        let kind = self.kind();
        let shape = kind.shape;
        if self.silent && !matches!(shape, Shape::Background | Shape::Changed) {
            faults.refuse("apple.push_type", "invalid", "a silent push is `background`, `widgets` or `controls`");
        }
        if self.silent || matches!(shape, Shape::Background | Shape::Changed) {
            for field in self.shown() {
                faults.refuse(field, "invalid", "a push that shows nothing has none");
            }
        } else if shape == Shape::Shown && self.shown().is_empty() {
            faults.refuse("body", "required", "a push says something (`title` or `body`), sounds, sets a badge, or is `silent`");
        }
        if kind == Kind::BACKGROUND && self.priority == Some(super::Priority::High) {
            faults.refuse("priority", "invalid", "a background push is never urgent");
        }
        if self.subtitle.is_some() && !self.has_words() {
            faults.refuse("subtitle", "invalid", "goes with a `title` or a `body`");
        }
        if matches!(self.sound, Some(Sound::None)) && self.interruption_level == Some(InterruptionLevel::Critical) {
            faults.refuse("sound", "invalid", "a critical push is heard");
        }
    }

    /// The fields that a phone shows or sounds.
    fn shown(&self) -> Vec<&'static str> {
        [
            ("title", self.title.is_some()),
            ("subtitle", self.subtitle.is_some()),
            ("body", !self.body.is_empty()),
            ("title_key", self.title_key.is_some()),
            ("subtitle_key", self.subtitle_key.is_some()),
            ("body_key", self.body_key.is_some()),
            ("sound", !matches!(self.sound, None | Some(Sound::None))),
            ("badge", self.badge.is_some()),
            ("image", self.image.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, is)| is.then_some(field))
        .collect()
    }
}

fn check_apple(faults: &mut Faults, apple: &Apple) {
    let word = |text: &str, max: usize| {
        (1..=max).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    match (apple.push_type.as_deref(), apple.topic_suffix.as_deref()) {
        (Some("liveactivity"), _) => {
            faults.refuse("apple.push_type", "invalid", "Live Activities have routes of their own: /v1/activities")
        }
        (Some("mdm"), _) => {
            faults.refuse("apple.push_type", "invalid", "Apple wants a certificate for it, and Kairos signs with keys")
        }
        (Some(known), Some(_)) if Kind::named(known).is_some() => {
            faults.refuse("apple.topic_suffix", "invalid", "the suffix of this push type is known; leave it out");
        }
        (Some(known), None) if Kind::named(known).is_some() => {}
        (Some(new), _) if !word(new, 32) => faults.refuse("apple.push_type", "invalid", "must be a word of a-z, 0-9, `-`, `.`"),
        (Some(_), None) => {
            faults.refuse(
                "apple.topic_suffix",
                "required",
                "Kairos does not know this push type: say which suffix its topic has",
            );
        }
        (Some(_), Some(suffix)) if !(suffix.starts_with('.') && suffix.len() > 1 && word(suffix, 64)) => {
            faults.refuse("apple.topic_suffix", "invalid", "must begin with a dot: .push-type.example");
        }
        (None, Some(_)) => faults.refuse("apple.topic_suffix", "invalid", "goes with `apple.push_type`"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if apple.priority.is_some_and(|p| ![1, 5, 10].contains(&p)) {
        faults.refuse("apple.priority", "out_of_range", "must be 10, 5 or 1");
    }
    if apple.push_type.as_deref() == Some("background") && apple.priority.is_some_and(|p| p != 5) {
        faults.refuse("apple.priority", "invalid", "a background push has priority 5");
    }
    for (field, text) in [
        ("apple.target_content_id", &apple.target_content_id),
        ("apple.filter_criteria", &apple.filter_criteria),
        ("apple.launch_image", &apple.launch_image),
    ] {
        faults.text(field, text.as_deref(), NAME_MAX);
    }
}

fn check_android(faults: &mut Faults, android: &Android) {
    for (field, text, max) in [
        ("android.channel_id", &android.channel_id, NAME_MAX),
        ("android.icon", &android.icon, NAME_MAX),
        ("android.tag", &android.tag, 64),
        ("android.click_action", &android.click_action, NAME_MAX),
        ("android.ticker", &android.ticker, 1_000),
        ("android.restricted_package_name", &android.restricted_package_name, NAME_MAX),
    ] {
        faults.text(field, text.as_deref(), max);
    }
    faults.color("android.color", android.color.as_deref());
    faults.https("android.image", android.image.as_deref());
    faults.range("android.notification_count", android.notification_count, 0..=BADGE_MAX);
    faults.timings("android.vibrate_timings_ms", &android.vibrate_timings_ms);
    if android.default_vibrate_timings && !android.vibrate_timings_ms.is_empty() {
        faults.refuse("android.vibrate_timings_ms", "invalid", "`default_vibrate_timings` takes their place: leave one out");
    }
    if let Some(light) = &android.light_settings {
        faults.color("android.light_settings.color", Some(&light.color));
        faults.range("android.light_settings.on_ms", Some(light.on_ms), 0..=60_000);
        faults.range("android.light_settings.off_ms", Some(light.off_ms), 0..=60_000);
        if android.default_light_settings {
            faults.refuse("android.light_settings", "invalid", "`default_light_settings` takes their place: leave one out");
        }
    }
}

fn check_web(faults: &mut Faults, web: &Web) {
    faults.fixed_https("web.icon", web.icon.as_deref());
    faults.fixed_https("web.badge", web.badge.as_deref());
    faults.text("web.tag", web.tag.as_deref(), 64);
    faults.timings("web.vibrate_ms", &web.vibrate_ms);
    if web.silent && !web.vibrate_ms.is_empty() {
        faults.refuse("web.vibrate_ms", "invalid", "a silent notification does not vibrate");
    }
    if web.actions.len() > 4 {
        faults.refuse("web.actions", "too_long", "must have at most 4 items");
    }
    for (n, action) in web.actions.iter().enumerate() {
        faults.text(&format!("web.actions[{n}].action"), Some(&action.action), 64);
        faults.text(&format!("web.actions[{n}].title"), Some(&action.title), 100);
        faults.fixed_https(&format!("web.actions[{n}].icon"), action.icon.as_deref());
    }
}

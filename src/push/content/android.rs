//! What only phones with Google's services know.

use super::parts::Priority;
use super::unique_map;
use crate::clock::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

words! {
    /// What the lock screen shows.
    #[schema(as = PushVisibility)]
    Visibility {
        /// That there is something, not what.
        Private = "private",
        /// All of it.
        Public = "public",
        /// Nothing.
        Secret = "secret",
    }
}

words! {
    /// How far up a notification stands, before Android 8; from then on its channel says that.
    #[schema(as = PushNotificationPriority)]
    NotificationPriority {
        /// Maybe not at all.
        Min = "min",
        /// Far down.
        Low = "low",
        /// As usual.
        Default = "default",
        /// Far up.
        High = "high",
        /// At once, over everything.
        Max = "max",
    }
}

words! {
    /// Whether a notification's content may be fetched through Google's proxy.
    #[schema(as = PushProxy)]
    Proxy {
        /// It may.
        Allow = "allow",
        /// It may not.
        Deny = "deny",
        /// Only where its priority was lowered.
        IfPriorityLowered = "if_priority_lowered",
    }
}

/// What only phones with Google's services know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = PushAndroid)]
pub struct Android {
    /// The notification channel; the app must have made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub channel_id: Option<String>,
    /// A drawable of the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub icon: Option<String>,
    /// The icon's colour: `#rrggbb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^#[0-9a-fA-F]{6}$")]
    pub color: Option<String>,
    /// Notifications with the same tag replace each other; absent: the collapse id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub tag: Option<String>,
    /// The activity that a tap opens; absent: what `category` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub click_action: Option<String>,
    /// What is read aloud to those who do not see.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1000)]
    pub ticker: Option<String>,
    /// Whether it stays when it is tapped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sticky: bool,
    /// Whether it stays on this phone, away from a watch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local_only: bool,
    /// What the lock screen shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// How far up it stands, before Android 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_priority: Option<NotificationPriority>,
    /// How many things it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000)]
    pub notification_count: Option<u32>,
    /// Whether the phone's own sound is heard.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_sound: bool,
    /// Whether the phone's own pattern of vibration is felt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_vibrate_timings: bool,
    /// Whether the phone's own light is seen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default_light_settings: bool,
    /// Rest and vibration in turn, in milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub vibrate_timings_ms: Vec<u32>,
    /// The phone's light.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light_settings: Option<LightSettings>,
    /// An image for these phones alone, in the place of `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub image: Option<String>,
    /// When what it tells of happens: notifications are sorted by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Time>,
    /// Whether it may be fetched through Google's proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Whether the app gets it before the phone was unlocked for the first time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub direct_boot_ok: bool,
    /// Whether it may go over a satellite.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bandwidth_constrained_ok: bool,
    /// The only package that may have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub restricted_package_name: Option<String>,
    /// How urgent it is on these phones; absent: what `priority` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Keys for these phones alone, over those of the same name in `data`.
    #[serde(deserialize_with = "unique_map", skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, Object>)]
    pub data: Map<String, Value>,
}

/// The phone's light.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushLight)]
pub struct LightSettings {
    /// `#rrggbb`.
    #[schema(pattern = "^#[0-9a-fA-F]{6}$")]
    pub color: String,
    /// How long it shines, in milliseconds.
    #[schema(maximum = 60_000)]
    pub on_ms: u32,
    /// How long it is dark, in milliseconds.
    #[schema(maximum = 60_000)]
    pub off_ms: u32,
}

//! What only browsers know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What only browsers know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = PushWeb)]
pub struct Web {
    /// URL of the icon beside the words, https.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub icon: Option<String>,
    /// URL of the one-coloured icon where there is no room for words, https.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub badge: Option<String>,
    /// Buttons; most browsers show two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 4)]
    pub actions: Vec<Action>,
    /// Whether it stays until somebody has answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_interaction: bool,
    /// Whether nothing is heard or felt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// Vibration and rest in turn, in milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub vibrate_ms: Vec<u32>,
    /// Whether one that replaces another is heard again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub renotify: bool,
    /// Notifications with the same tag replace each other; absent: the collapse id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub tag: Option<String>,
}

/// A button.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushAction)]
pub struct Action {
    /// What the app's worker is told.
    #[schema(min_length = 1, max_length = 64)]
    pub action: String,
    /// What stands on it.
    #[schema(min_length = 1, max_length = 100)]
    pub title: String,
    /// URL of its icon, https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub icon: Option<String>,
}

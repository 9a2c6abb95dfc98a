//! What only Apple's phones know.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What only Apple's phones know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = PushApple)]
pub struct Apple {
    /// `apns-push-type`: `alert`, `background`, `voip`, `complication`, `fileprovider`, `location`, `pushtotalk`, `widgets`,
    /// `controls`, or a newer word together with `topic_suffix`; absent: `alert`, of silent ones `background`. From `voip` to
    /// `controls` they go to installations that were registered with a token of that kind (`token_kind`), and to no other iPhone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 32)]
    pub push_type: Option<String>,
    /// What follows the bundle id in `apns-topic`, for a push type that Kairos does not know: `.push-type.example`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 2, max_length = 64)]
    pub topic_suffix: Option<String>,
    /// `apns-priority`: 10 at once, 5 when it costs little, 1 without waking the phone; absent: what `priority` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub priority: Option<u8>,
    /// Whether the app is woken beside what is shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub content_available: bool,
    /// Which of the app's windows comes forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub target_content_id: Option<String>,
    /// What the phone's focus filters compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub filter_criteria: Option<String>,
    /// The image or storyboard shown while the app starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub launch_image: Option<String>,
}

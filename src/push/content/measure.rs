//! How large a push is, told apart by its fields: what does not fit is refused with the field that did it.

use super::encrypted::sealed_bytes;
use super::{BADGE_MAX, Badge, Content, Shape, is_template};
use crate::push::message::render_as;
use crate::push::{Gateway, Stamp, fcm, webpush};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What a push weighs beside its content: ids, deadline, brackets.
const FRAME_BYTES: usize = 1_000;
/// A character takes six bytes of JSON at most: `\u0001`.
const ESCAPED: usize = 6;

/// A content that does not fit into a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PushTooLarge)]
pub struct TooLarge {
    /// Whose limit it breaks.
    pub gateway: Gateway,
    /// The field that takes most of the room: `body`, `data.story`.
    pub field: String,
    /// What this field takes, in bytes as its gateway counts them.
    pub field_bytes: usize,
    /// What the whole push takes.
    pub bytes: usize,
    /// What it may take.
    pub limit_bytes: usize,
}

impl TooLarge {
    /// By how much, in bytes.
    pub fn over_bytes(&self) -> usize {
        self.bytes - self.limit_bytes
    }
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { gateway, field, field_bytes, bytes, limit_bytes } = self;
        let over = self.over_bytes();
        write!(
            f,
            "a push through {} may have {limit_bytes} bytes; this one has {bytes}, {over} too many, {field_bytes} of them in {field}",
            gateway.word()
        )
    }
}

impl Content {
    /// Whether it fits into a push through this gateway, to the byte.
    ///
    /// # Errors
    /// What is too large.
    pub fn fits(&self, gateway: Gateway) -> Result<(), Box<TooLarge>> {
        let limit_bytes = self.limit_bytes(gateway);
        if self.bytes_at_most().is_some_and(|bytes| bytes <= limit_bytes) {
            return Ok(());
        }
        let bytes = self.bytes(gateway);
        if bytes <= limit_bytes {
            return Ok(());
        }
        let of = |value: &Value| match gateway {
            Gateway::Apns | Gateway::WebPush => value.to_string().len(),
            Gateway::Fcm => fcm::count(value),
        };
        let (field, field_bytes) = self.weights(gateway, of).into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
        Err(Box::new(TooLarge { gateway, field, field_bytes, bytes, limit_bytes }))
    }

    /// Whether what is fixed alone is too much already, whatever a person's values are.
    pub(super) fn too_large(&self) -> Option<Box<TooLarge>> {
        let fixed = |text: &str| if is_template(text) { String::new() } else { text.to_owned() };
        let least = self.with_texts(|_, text| Ok::<_, std::convert::Infallible>(fixed(text)));
        let Ok(least) = least;
        // What only Apple's phones get may be larger than the others' limits.
        let gateways: &[Gateway] = match self.kind().shape {
            Shape::Free => &[Gateway::Apns],
            Shape::Shown | Shape::Background | Shape::Changed => &[Gateway::Apns, Gateway::Fcm, Gateway::WebPush],
        };
        gateways.iter().find_map(|gateway| least.fits(*gateway).err())
    }

    /// The most that a push through this gateway may have.
    fn limit_bytes(&self, gateway: Gateway) -> usize {
        match gateway {
            Gateway::Apns => self.kind().limit_bytes,
            Gateway::Fcm => fcm::PAYLOAD_LIMIT_BYTES,
            Gateway::WebPush => webpush::PLAINTEXT_LIMIT_BYTES,
        }
    }

    /// What a push of it weighs, as its gateway counts: with ids and times as long as they can be.
    pub fn bytes(&self, gateway: Gateway) -> usize {
        if let Some((clear, outside)) = self.parted(gateway) {
            return outside.bytes(gateway) + sealed_bytes(clear.to_string().len());
        }
        let nil = uuid::Uuid::nil();
        let stamp = Stamp {
            message_id: nil.into(),
            decision_id: nil.into(),
            campaign_id: nil.into(),
            deadline_ms: crate::clock::Time::MAX_MS,
        };
        // As long as the one that is made where the author names none.
        let choice: crate::id::ChoiceId = nil.into();
        let collapse_id = self.collapse_id.clone().unwrap_or_else(|| choice.to_string());
        // The number is counted later; it is never longer than this one.
        let counted = || Self { badge: Some(Badge::Set(BADGE_MAX)), ..self.clone() };
        let payload = match self.badge {
            Some(Badge::Increment(_)) => render_as(gateway, &counted(), (&stamp, &collapse_id)),
            Some(Badge::Set(_) | Badge::Clear) | None => render_as(gateway, self, (&stamp, &collapse_id)),
        };
        match gateway {
            Gateway::Apns | Gateway::WebPush => payload.len(),
            Gateway::Fcm => fcm::size_bytes(&payload, &collapse_id),
        }
    }

    /// An upper bound without rendering, for contents whose weight lies in their texts: most.
    fn bytes_at_most(&self) -> Option<usize> {
        if self.encrypted.is_some() || self.apple.is_some() || self.android.is_some() || self.web.is_some() {
            return None;
        }
        if [&self.title_key, &self.subtitle_key, &self.body_key].into_iter().any(Option::is_some) {
            return None;
        }
        let long = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = [&self.title, &self.subtitle, &self.image, &self.link, &self.thread, &self.category, &self.collapse_id];
        let texts: usize = texts.into_iter().map(long).sum::<usize>() + self.body.len();
        let data: usize = self
            .data
            .iter()
            .map(|(key, value)| key.len() + 8 + value.as_str().map_or_else(|| value.to_string().len(), str::len))
            .sum();
        // A sound's name is at most 100 bytes.
        Some(FRAME_BYTES + ESCAPED * (texts + data + 100))
    }

    /// What each field weighs.
    fn weights(&self, gateway: Gateway, of: impl Fn(&Value) -> usize) -> Vec<(String, usize)> {
        let mut weights = Vec::new();
        for (field, value) in self.document() {
            match value {
                Value::Object(map) if matches!(field.as_str(), "data" | "apple" | "android" | "web") => {
                    for (key, value) in map {
                        match value {
                            Value::Object(inner) if field == "android" && key == "data" => {
                                weights.extend(inner.iter().map(|(k, v)| (format!("android.data.{k}"), of(v))));
                            }
                            value => weights.push((format!("{field}.{key}"), of(&value))),
                        }
                    }
                }
                value => weights.push((field, of(&value))),
            }
        }
        // What only other gateways get weighs nothing here.
        let others = match gateway {
            Gateway::Apns | Gateway::Fcm => &["web."][..],
            Gateway::WebPush => &["apple.", "android."],
        };
        weights.retain(|(field, _)| !others.iter().any(|block| field.starts_with(block)));
        weights
    }

    /// The content as JSON, field by field.
    fn document(&self) -> serde_json::Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            Ok(_) | Err(_) => serde_json::Map::new(),
        }
    }
}

//! Words that neither Apple nor Google read: which of a content go out encrypted, and what is shown in their place.

use super::Content;
use super::limits::Faults;
use super::texts::is_template;
use crate::push::{Gateway, webpush};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Longest line that is shown in the place of encrypted ones, in bytes.
const LINE_BYTES_MAX: usize = 200;
/// What the sealed words take beside their own characters: their key, quotes, and the names of the lines that move.
const KEYS_BYTES: usize = 48;

/// Title, texts, image, link and `data` go out encrypted for the device, as a body of Web Push does (RFC 8291), and the app's
/// own code decrypts them on the phone. This is shown until it has, and on phones that gave no keys: nothing of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushEncrypted)]
pub struct Encrypted {
    /// The first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 200)]
    pub title: Option<String>,
    /// The text.
    #[schema(min_length = 1, max_length = 200)]
    pub body: String,
}

impl Content {
    /// The words for the person alone, and what the gateway may read; none where nothing is to be encrypted, or everything
    /// is anyway: a browser's push.
    pub(in crate::push) fn parted(&self, gateway: Gateway) -> Option<(Value, Self)> {
        let Encrypted { title, body } = self.encrypted.as_ref().filter(|_| gateway != Gateway::WebPush)?;
        let mut clear = Map::new();
        for (key, text) in [
            ("title", self.title.as_deref()),
            ("subtitle", self.subtitle.as_deref()),
            ("body", Some(self.body.as_str()).filter(|body| !body.is_empty())),
            ("image", self.image.as_deref()),
            ("link", self.link.as_deref()),
        ] {
            if let Some(text) = text {
                clear.insert(key.to_owned(), Value::from(text));
            }
        }
        let mut data = self.data.clone();
        let mut android = self.android.clone();
        if let Some(android) = &mut android
            && gateway == Gateway::Fcm
        {
            data.extend(std::mem::take(&mut std::sync::Arc::make_mut(android).data));
        }
        if !data.is_empty() {
            clear.insert("data".to_owned(), Value::Object(data));
        }
        let outside = Self {
            title: title.clone(),
            subtitle: None,
            body: body.clone(),
            image: None,
            link: None,
            data: Map::new(),
            // It is the app's extension that decrypts.
            mutable_content: true,
            encrypted: None,
            android,
            ..self.clone()
        };
        Some((Value::Object(clear), outside))
    }

    pub(super) fn check_encrypted(&self, faults: &mut Faults) {
        let Some(Encrypted { title, body }) = &self.encrypted else { return };
        for (field, text) in [("encrypted.title", title.as_deref()), ("encrypted.body", Some(body.as_str()))] {
            faults.text(field, text, LINE_BYTES_MAX);
            if text.is_some_and(is_template) {
                faults.refuse(field, "invalid", "the gateway reads this line: nothing of a person stands in it");
            }
        }
        for (field, _) in self.keys() {
            faults.refuse(field, "invalid", "the gateway reads keys of translations: encrypt texts, or leave `encrypted` out");
        }
        if self.silent || !self.has_words() {
            faults.refuse("encrypted", "invalid", "there are no words to encrypt: give a `title` or a `body`");
        }
    }
}

/// What sealed words take of a payload at most, for so many bytes of them.
pub(super) fn sealed_bytes(clear_bytes: usize) -> usize {
    webpush::body_bytes(clear_bytes).div_ceil(3) * 4 + KEYS_BYTES
}

//! The signature `v1` of Standard Webhooks and the keys that make it. Pure.

use crate::config::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a new key.
pub(super) const KEY_BYTES: usize = 32;
/// Fewest and most bytes of a key.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The key of one endpoint.
pub struct Key(Vec<u8>);

impl Key {
    /// A key of these bytes, 24 to 64.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        LENGTHS.contains(&bytes.len()).then(|| Self(bytes.to_owned()))
    }

    /// Reads `whsec_` and base64.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(&STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?)
    }

    /// `whsec_` and base64: what the receiver keeps.
    pub fn text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(&self.0)))
    }
}

/// The value of `webhook-signature`: one `v1,…` per key over `id.timestamp.body`.
pub fn signature(keys: &[Key], (id, timestamp_s): (&str, i64), body: &str) -> String {
    let signed = format!("{id}.{timestamp_s}.{body}");
    let sign = |key: &Key| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

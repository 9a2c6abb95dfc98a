//! Sealed words: what of a push only the person's own phone reads, encrypted on the way out.
//!
//! A stored payload keeps them apart and legible, under [`CLEAR`]: the inbox and the books read them there. At the hand-over
//! they are encrypted for the device, as the body of a web push is (RFC 8291, one record of RFC 8188), so that a stock
//! library of Web Push decrypts them. A device that gave no keys gets what is shown in their place, and no words: its app
//! reads them from the inbox.

use super::content::Priority;
use super::fcm;
use super::message::{Gateway, Push};
use super::webpush::{Fresh, PLAINTEXT_LIMIT_BYTES, Recipient, encrypt, padding};
use crate::people::device::sealing_keys;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Map, Value};

/// The key of the legible words in a stored payload.
pub const CLEAR: &str = "kairos_clear";
/// The key of the sealed words on the phone, and of the lines to show where they cannot be read, where no gateway shows them.
const SEALED: &str = "kairos_sealed";
const LINES: [(&str, &str); 2] = [("title", "kairos_title"), ("body", "kairos_body")];
/// With this a stored payload begins that has such words.
const BEGINS: &str = "{\"kairos_clear\":";

/// The stored form of a payload with words that only the person reads.
pub(super) fn keep_apart(clear: &Value, payload: &str) -> String {
    let rest = payload.strip_prefix('{').unwrap_or(payload);
    format!("{BEGINS}{clear},{rest}")
}

/// The payload as it goes out, where it is another one than the stored one.
///
/// # Errors
/// The reason why it can never be sent.
pub fn seal(gateway: Gateway, push: &Push, fresh: impl FnOnce() -> Fresh) -> Result<Option<Bytes>, &'static str> {
    if !push.payload.starts_with(BEGINS.as_bytes()) {
        return Ok(None);
    }
    let mut root: Map<String, Value> = serde_json::from_slice(&push.payload).map_err(|_| "malformed_payload")?;
    let clear = root.remove(CLEAR).unwrap_or_default().to_string();
    if let Some((p256dh, auth)) = sealing_keys(&push.token) {
        let pad = padding(clear.len(), PLAINTEXT_LIMIT_BYTES);
        let body = encrypt(&Recipient { p256dh, auth }, clear.as_bytes(), pad, &fresh())?;
        let sealed = Value::from(URL_SAFE_NO_PAD.encode(body));
        match gateway {
            Gateway::Apns | Gateway::WebPush => drop(root.insert(SEALED.to_owned(), sealed)),
            Gateway::Fcm => root = for_the_app(root, sealed, &push.collapse_id),
        }
    }
    Ok(Some(Value::Object(root).to_string().into()))
}

/// Google's phones show a `notification` without asking the app: what the app has to decrypt comes as data alone.
fn for_the_app(mut message: Map<String, Value>, sealed: Value, collapse_id: &str) -> Map<String, Value> {
    let shown = message.remove("notification").unwrap_or_default();
    let mut android = match message.remove("android") {
        Some(Value::Object(android)) => android,
        _ => Map::from_iter([("priority".to_owned(), Value::from(Priority::High.word()))]),
    };
    android.remove("notification");
    android.remove("collapseKey");
    if fcm::is_named(collapse_id) {
        android.insert("collapseKey".to_owned(), Value::from(collapse_id));
    }
    // The envelope looks for this block in front.
    let mut out = Map::from_iter([("android".to_owned(), Value::Object(android))]);
    if let Some(Value::Object(data)) = message.get_mut("data") {
        data.insert(SEALED.to_owned(), sealed);
        for (line, key) in LINES {
            if let Some(text) = shown.get(line) {
                data.insert(key.to_owned(), text.clone());
            }
        }
    }
    out.extend(message);
    out
}

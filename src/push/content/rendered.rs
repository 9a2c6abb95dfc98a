//! What a content must keep to once a person's values stand in it.

use super::Content;
use super::limits::{is_https, is_id};

impl Content {
    /// The field that came out as nothing that a gateway takes, and why.
    pub fn fault(&self) -> Option<(String, &'static str)> {
        let fault = |field: &str, why| Some((field.to_owned(), why));
        let android = self.android.as_ref().and_then(|android| android.image.as_deref());
        for (field, url) in [("image", self.image.as_deref()), ("android.image", android)] {
            if url.is_some_and(|url| !is_https(url)) {
                return fault(field, "it is no URL that begins with https://");
            }
        }
        if self.link.as_deref().is_some_and(|link| link.is_empty() || link.contains(char::is_whitespace)) {
            return fault("link", "it is no link");
        }
        for (field, id) in [("thread", &self.thread), ("collapse_id", &self.collapse_id)] {
            if id.as_deref().is_some_and(|id| !is_id(id)) {
                return fault(field, "it is not 1 to 64 visible ASCII characters");
            }
        }
        None
    }
}

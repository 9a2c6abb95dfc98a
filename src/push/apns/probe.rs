//! The question whether Apple takes a key for a topic: a push to a token that no phone has.

use super::client::Client;
use super::verdict::verdict;
use crate::outbound::Outgoing;
use crate::push::verdict::Verdict;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Uri, Version};

/// Well-formed, and nobody's.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Client {
    /// A silent push to nobody, which Apple would not keep.
    ///
    /// # Errors
    /// When it cannot be signed, or the topic cannot stand in a header.
    pub fn probe(&self, topic: &str, now_ms: i64) -> Result<Outgoing, &'static str> {
        let uri = format!("https://{}/3/device/{NOBODY}", self.authority);
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri.parse::<Uri>().map_err(|_| "malformed_host")?;
        *head.version_mut() = Version::HTTP_2;
        let headers = head.headers_mut();
        headers.insert(AUTHORIZATION, self.token.bearer(now_ms)?);
        headers.insert("apns-topic", HeaderValue::from_str(topic).map_err(|_| "malformed_topic")?);
        headers.insert("apns-push-type", HeaderValue::from_static("background"));
        headers.insert("apns-priority", HeaderValue::from_static("5"));
        headers.insert("apns-expiration", HeaderValue::from_static("0"));
        Ok(Outgoing { head, body: Bytes::from_static(br#"{"aps":{"content-available":1}}"#) })
    }
}

/// What an answer to [`Client::probe`] says of the key: good, refused for this reason, or nothing.
pub fn of_key(status: u16, reason: &str) -> Option<Result<(), String>> {
    // Whoever is told that the token is bad has been let in.
    if matches!(reason, "BadDeviceToken" | "DeviceTokenNotForTopic" | "Unregistered" | "ExpiredToken") {
        return Some(Ok(()));
    }
    match verdict(status, reason) {
        Verdict::Accepted => Some(Ok(())),
        Verdict::Misconfigured(reason) | Verdict::Renew(reason) => Some(Err(reason.into_owned())),
        Verdict::Rejected(_)
        | Verdict::Unregistered { .. }
        | Verdict::Later { .. }
        | Verdict::Hold(_)
        | Verdict::Reconnect(_) => None,
    }
}

//! One push as a request to Apple.

use super::credentials::ProviderToken;
use crate::outbound::Outgoing;
use crate::push::Push;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const ID: HeaderName = HeaderName::from_static("apns-id");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// Speaks for one app in one environment.
pub struct Client {
    /// The token by which it authenticates.
    pub token: ProviderToken,
    /// The app's bundle ids; the first serves devices that did not say theirs.
    pub topics: Vec<String>,
    /// Host name of the gateway.
    pub authority: &'static str,
}

impl Client {
    /// The request for this push, as it has to look now.
    ///
    /// # Errors
    /// The reason why it can never be sent.
    pub fn request(&self, push: &Push, now_ms: i64) -> Result<(Outgoing, HeaderValue), &'static str> {
        let topic = match &push.topic {
            Some(topic) if self.topics.contains(topic) => topic,
            Some(_) => return Err("topic_not_configured"),
            None => self.topics.first().ok_or("topic_not_configured")?,
        };
        if push.token.is_empty() || !push.token.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("malformed_token");
        }
        let uri = Uri::builder()
            .scheme("https")
            .authority(self.authority)
            .path_and_query(format!("/3/device/{}", push.token))
            .build()
            .map_err(|_| "malformed_token")?;
        let bearer = self.token.bearer(now_ms)?;
        // Rounded down, so that Apple never holds it longer than we may; nothing left of it means now or never.
        let expiration_s = push.deadline_ms.div_euclid(1_000);
        let expiration_s = if expiration_s * 1_000 <= now_ms { 0 } else { expiration_s };
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri;
        *head.version_mut() = Version::HTTP_2;
        let headers = head.headers_mut();
        headers.reserve(8);
        headers.insert(AUTHORIZATION, bearer.clone());
        headers.insert(TOPIC, HeaderValue::from_str(topic).map_err(|_| "topic_not_configured")?);
        headers.insert(PUSH_TYPE, HeaderValue::from_static("alert"));
        headers.insert(PRIORITY, HeaderValue::from_static("10"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut id = uuid::Uuid::encode_buffer();
        let id: &str = push.id.uuid().as_hyphenated().encode_lower(&mut id);
        headers.insert(ID, HeaderValue::from_str(id).map_err(|_| "malformed_id")?);
        headers.insert(EXPIRATION, HeaderValue::from(expiration_s));
        headers.insert(COLLAPSE_ID, HeaderValue::from_str(&push.collapse_id).map_err(|_| "malformed_collapse_id")?);
        Ok((Outgoing { head, body: push.payload.clone() }, bearer))
    }
}

//! One push as a request to Apple.

use super::credentials::ProviderToken;
use crate::outbound::Outgoing;
use crate::people::device::{address, own_kind};
use crate::push::Push;
use crate::push::content::Head;
use bytes::BytesMut;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, uri};
use std::sync::Arc;

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const ID: HeaderName = HeaderName::from_static("apns-id");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// Where pushes go, before the device's token.
const PATH: &str = "/3/device/";

/// Speaks for one app in one environment.
pub struct Client {
    /// The token by which it authenticates.
    pub token: Arc<ProviderToken>,
    /// The app's bundle ids; the first serves devices that did not say theirs.
    pub topics: Vec<String>,
    /// Host name of the gateway.
    pub(super) authority: uri::Authority,
}

impl Client {
    /// A client for the gateway of this host name.
    pub fn new(token: impl Into<Arc<ProviderToken>>, topics: Vec<String>, authority: &'static str) -> Self {
        Self { token: token.into(), topics, authority: uri::Authority::from_static(authority) }
    }

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
        let (own_kind, token) = own_kind(address(&push.token));
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("malformed_token");
        }
        let Head { push_type, priority, suffix } = Head::read(push.head.as_deref()).ok_or("malformed_head")?;
        if own_kind.is_some_and(|own| own != push_type) {
            return Err("token_of_another_kind");
        }
        let topic =
            if suffix.is_empty() { HeaderValue::from_str(topic) } else { HeaderValue::try_from(format!("{topic}{suffix}")) };
        let mut path = BytesMut::with_capacity(PATH.len() + token.len());
        path.extend_from_slice(PATH.as_bytes());
        path.extend_from_slice(token.as_bytes());
        let mut parts = uri::Parts::default();
        parts.scheme = Some(uri::Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(uri::PathAndQuery::from_maybe_shared(path.freeze()).map_err(|_| "malformed_token")?);
        let uri = Uri::from_parts(parts).map_err(|_| "malformed_token")?;
        let bearer = self.token.bearer(now_ms)?;
        // Rounded down, so that Apple never holds it longer than we may; nothing left of it means now or never.
        let expiration_s = push.deadline_ms.div_euclid(1_000);
        let expiration_s = if expiration_s * 1_000 <= now_ms { 0 } else { expiration_s };
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri;
        *head.version_mut() = Version::HTTP_2;
        let headers = head.headers_mut();
        headers.reserve(7);
        headers.insert(AUTHORIZATION, bearer.clone());
        headers.insert(TOPIC, topic.map_err(|_| "topic_not_configured")?);
        headers.insert(PUSH_TYPE, HeaderValue::from_str(push_type).map_err(|_| "malformed_head")?);
        headers.insert(PRIORITY, HeaderValue::from(u16::from(priority)));
        let mut id = uuid::Uuid::encode_buffer();
        let id: &str = push.id.uuid().as_hyphenated().encode_lower(&mut id);
        let mut id = HeaderValue::from_str(id).map_err(|_| "malformed_id")?;
        // Not a secret, but unlike any other: HPACK would fill its table with these and forget what repeats.
        id.set_sensitive(true);
        headers.insert(ID, id);
        headers.insert(EXPIRATION, HeaderValue::from(expiration_s));
        headers.insert(COLLAPSE_ID, HeaderValue::from_str(&push.collapse_id).map_err(|_| "malformed_collapse_id")?);
        Ok((Outgoing { head, body: push.payload.clone() }, bearer))
    }
}

//! One push as a request to Google.

use super::credentials::AccessToken;
use super::payload::envelope;
use crate::outbound::Outgoing;
use crate::push::Push;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri, Version};
use std::sync::Arc;

/// Speaks for one project.
pub struct Client {
    /// The token by which it authenticates.
    pub token: Arc<AccessToken>,
    uri: Uri,
}

impl Client {
    /// A client that sends for the project of this account.
    ///
    /// # Errors
    /// When the project's name cannot stand in a URL.
    pub fn new(token: Arc<AccessToken>, authority: &str) -> Result<Self, &'static str> {
        let uri = Uri::builder()
            .scheme("https")
            .authority(authority)
            .path_and_query(format!("/v1/projects/{}/messages:send", token.project_id()))
            .build()
            .map_err(|_| "malformed_project")?;
        Ok(Self { token, uri })
    }

    /// The request for this push, as it has to look now.
    ///
    /// # Errors
    /// The reason why it can never be sent.
    pub fn request(&self, push: &Push, bearer: &HeaderValue, now_ms: i64) -> Result<Outgoing, &'static str> {
        let body = envelope(push, now_ms).ok_or("malformed_payload")?;
        Ok(self.post(bearer, body))
    }

    /// The question whether Google lets this account send: a message to a topic that is checked and not delivered.
    pub fn probe(&self, bearer: &HeaderValue) -> Outgoing {
        let body = r#"{"validateOnly":true,"message":{"topic":"kairos-credential-test","data":{"kairos":"test"}}}"#;
        self.post(bearer, body.to_owned())
    }

    /// A request with this body.
    pub(in crate::push) fn post(&self, bearer: &HeaderValue, body: String) -> Outgoing {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri.clone();
        *head.version_mut() = Version::HTTP_2;
        head.headers_mut().insert(AUTHORIZATION, bearer.clone());
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Outgoing { head, body: body.into() }
    }
}

//! Conditional requests (RFC 9110 §13): the revision of a row as a strong entity tag.

use crate::error::{Error, Problem, Result};
use actix_web::http::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload};
use ring::digest::{SHA256, digest};
use std::convert::Infallible;

/// The `If-Match` of a request, if it has one.
#[derive(Debug, Clone)]
pub struct IfMatch(Option<String>);

impl IfMatch {
    /// That of a caller which does not care for the revision.
    pub fn any() -> Self {
        Self(None)
    }

    /// Refuses when the caller saw another revision than this one. Without the header everything passes.
    ///
    /// # Errors
    /// 412 `revision_mismatch`.
    pub fn check(&self, revision: i64) -> Result<()> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let current = tag(revision);
        // Strong comparison: a weak tag never matches; an unreadable value matches nothing.
        if wanted.split(',').map(str::trim).any(|one| one == "*" || one == current) {
            return Ok(());
        }
        let detail = format!("It has changed since you read it: its ETag is now {current}. Read it again, then try again.");
        Err(Problem::new(412, "revision_mismatch", detail).into())
    }
}

impl FromRequest for IfMatch {
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut values = request.headers().get_all(IF_MATCH).map(|v| v.to_str().unwrap_or("")).peekable();
        let joined = values.peek().is_some().then(|| values.collect::<Vec<_>>().join(","));
        std::future::ready(Ok(Self(joined)))
    }
}

/// Answers with this body and its hash as `ETag`; 304 to whoever knows it already (`If-None-Match`, RFC 9110 §13.1.2).
///
/// # Errors
/// Never in practice: only when the body is no JSON.
pub fn unless_known(request: &HttpRequest, body: &impl serde::Serialize) -> Result<HttpResponse> {
    let text = serde_json::to_string(body).map_err(Error::broken)?;
    let hash = digest(&SHA256, text.as_bytes());
    let hash = hash.as_ref().iter().take(16).fold(String::from("\""), |out, byte| out + &format!("{byte:02x}")) + "\"";
    let known = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|one| one.trim().trim_start_matches("W/"));
    let is_known = known.any(|one| one == "*" || one == hash);
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((ETAG, hash));
    Ok(if is_known { answer.finish() } else { answer.content_type("application/json").body(text) })
}

/// The `ETag` header of a revision, for `HttpResponse::insert_header`.
pub fn etag(revision: i64) -> (HeaderName, HeaderValue) {
    // Digits and quotes are always a legal header value.
    (ETAG, HeaderValue::try_from(tag(revision)).unwrap_or(HeaderValue::from_static("\"v0\"")))
}

fn tag(revision: i64) -> String {
    format!("\"v{revision}\"")
}

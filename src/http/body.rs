//! Bounded, strict request bodies and queries: what is wrong is named by its field.

use super::strict::Strict;
use crate::audit;
use crate::error::{Error, Problem, Result};
use crate::planted::{Bug, planted};
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The largest body when the server was not told otherwise.
const DEFAULT_LIMIT_BYTES: usize = 1 << 20;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// How large a body this server takes, in bytes; kept in the app's data.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// A JSON body of a known shape. Unknown fields are refused where the type says `deny_unknown_fields`, as all do.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = read_json(request, payload);
        Box::pin(async move {
            let bytes = bytes.await?;
            audit::body(&bytes);
            if planted(Bug::LoggedBody) {
                tracing::debug!(body = %String::from_utf8_lossy(&bytes));
            }
            parse(&bytes).map(Self)
        })
    }
}

/// Reads a whole JSON body within the limit, unparsed.
pub fn read_json(request: &HttpRequest, payload: &mut Payload) -> LocalBoxFuture<'static, Result<Bytes>> {
    let limit = request.app_data::<BodyLimit>().map_or(DEFAULT_LIMIT_BYTES, |l| l.0);
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("").to_ascii_lowercase();
    let length = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    let mut payload = payload.take();
    Box::pin(async move {
        let media = kind.split(';').next().unwrap_or("").trim();
        if media != "application/json" && !(media.starts_with("application/") && media.ends_with("+json")) {
            return Err(Problem::new(415, "unsupported_media_type", "Send the body as application/json.").into());
        }
        let too_large = || Error::from(Problem::new(413, "body_too_large", format!("The body may have at most {limit} bytes.")));
        if length.is_some_and(|n| n > limit) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::with_capacity(length.unwrap_or(1024).min(limit));
        let slow = || Problem::new(408, "body_too_slow", format!("The body must arrive within {} s.", BODY_PATIENCE.as_secs()));
        let until = tokio::time::Instant::now() + BODY_PATIENCE;
        while let Some(chunk) = tokio::time::timeout_at(until, payload.next()).await.map_err(|_| slow())? {
            let chunk = chunk.map_err(|e| Problem::new(400, "unreadable_body", format!("The body could not be read: {e}.")))?;
            if bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    })
}

/// Parses JSON into a shape; the refusal names the field.
///
/// # Errors
/// 400 `validation_failed`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if bytes.trim_ascii().is_empty() {
        return Err(Error::invalid("body", "required", "it is empty; send a JSON object, {} when there is nothing to say"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(Strict(&mut reader)).map_err(|e| {
        let path = e.path().to_string();
        refuse(&path, &e.into_inner().to_string())
    })?;
    reader.end().map_err(|_| refuse(".", "there is something after the JSON value"))?;
    Ok(value)
}

/// Turns serde's words into a field and a code.
fn refuse(path: &str, message: &str) -> Error {
    let named = |marker: &str| message.split_once(marker).and_then(|(_, rest)| rest.split('`').next()).map(str::to_owned);
    let under = |name: String| {
        if path == "." || path.ends_with(&name) {
            if path == "." { name } else { path.to_owned() }
        } else {
            format!("{path}.{name}")
        }
    };
    let message_for_people = &without_value(message.split(" at line ").next().unwrap_or(message));
    if let Some(name) = named("unknown field `") {
        return Error::invalid(under(name), "unknown", message_for_people);
    }
    if let Some(name) = named("missing field `") {
        return Error::invalid(under(name), "required", message_for_people);
    }
    if let Some(name) = named("duplicate field `") {
        return Error::invalid(under(name), "duplicate", message_for_people);
    }
    let field = if path == "." { "body" } else { path };
    Error::invalid(field, "invalid", message_for_people)
}

/// Serde's words without the value that it found: a refusal says what kind of thing was sent, never what it was, which
/// may be a secret.
fn without_value(message: &str) -> String {
    let says_it = ["invalid type: ", "invalid value: ", "unknown variant "].iter().any(|start| message.starts_with(start));
    let Some((found, expected)) = message.rsplit_once(", expected ").filter(|_| says_it) else { return message.to_owned() };
    let kind = found.split(['`', '"']).next().unwrap_or(found).trim_end();
    format!("{kind}, expected {expected}")
}

/// Query parameters of a known shape.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Error;
    type Future = std::future::Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let parsed = actix_web::web::Query::<T>::from_query(request.query_string());
        std::future::ready(parsed.map(|q| Self(q.into_inner())).map_err(|e| {
            let message = match e {
                actix_web::error::QueryPayloadError::Deserialize(e) => e.to_string(),
                other => other.to_string(),
            };
            refuse(".", &message)
        }))
    }
}

//! What is asked of issuers over HTTP, through the guarded client: small answers, soon.

use crate::error::{Error, Result};
use crate::outbound::guarded::{Answer, Failure, Outgoing};
use crate::platform::Platform;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::time::Duration;

/// How long an issuer may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Refuses a URL that could not be called.
///
/// # Errors
/// 400 that names the field.
pub(super) async fn vet(platform: &Platform, field: &str, url: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(field, "invalid", why));
    match platform.web.vet(url).await {
        Ok(()) => Ok(()),
        Err(Failure::Url(why)) => refuse(why),
        Err(_) => refuse("leads to an address that is not called"),
    }
}

/// A good answer.
pub(super) async fn get(platform: &Platform, url: &str) -> Result<Answer, &'static str> {
    let answer = send(platform, Method::GET, (url, None)).await?;
    if answer.status == StatusCode::OK { Ok(answer) } else { Err("it answered with another status than 200") }
}

/// Any answer to a form.
pub(super) async fn post(platform: &Platform, url: &str, form: &[(&str, &str)]) -> Result<Answer, &'static str> {
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    send(platform, Method::POST, (url, Some(body.join("&").into()))).await
}

async fn send(platform: &Platform, method: Method, (url, form): (&str, Option<Bytes>)) -> Result<Answer, &'static str> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if form.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let body = form.unwrap_or_default();
    let outgoing = Outgoing { method, url: url.to_owned(), headers, body, timeout: PATIENCE, body_max: ANSWER_BYTES_MAX };
    platform.web.send(outgoing).await.map_err(Failure::word)
}

/// A value of a form: letters and digits as they are, all else by its bytes.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.extend([byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[usize::from(half)])));
            }
        }
    }
    out
}

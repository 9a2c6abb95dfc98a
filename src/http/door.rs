//! What every request passes on its way in and out: a name, a draft for the audit log, a measure, a log line, headers, and
//! a net for panics.

use super::request_id::{REQUEST_ID_HEADER, RequestId};
use crate::audit;
use crate::error::Error;
use crate::id::{AppId, Ids};
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, ResponseError as _, web};
use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// Paths that say nothing about the load and would fill the log.
const QUIET: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Which app a request turned out to belong to; put into its extensions by the extractors that know callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerApp(pub AppId);

/// What is left of a caller's budget; put into a request's extensions by whoever takes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The budget, in requests per window.
    pub limit: u32,
    /// The window, in seconds.
    pub window_s: i64,
    /// What is left of it, as far as this node knows.
    pub remaining: u32,
    /// Seconds until it is full again.
    pub reset_s: i64,
}

/// The outermost middleware.
///
/// # Errors
/// None of its own; a panic below becomes a 500.
pub async fn door<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let id = match request.app_data::<web::Data<Ids>>() {
        Some(ids) => RequestId::of(request.headers(), ids),
        None => return Err(Error::broken("the server was started without ids").into()),
    };
    let (started, method) = (Instant::now(), method_name(request.method().as_str()));
    let below = AssertUnwindSafe(async move {
        match AssertUnwindSafe(next.call(request)).catch_unwind().await {
            Ok(result) => result,
            Err(_) => {
                metrics::counter!("kairos_http_panics_total").increment(1);
                let error = Error::broken("a handler panicked");
                let response = error.error_response();
                Err(InternalError::from_response(error, response).into())
            }
        }
    });
    let mut response = audit::watched(id.as_str(), id.clone().scope(below)).await?;
    let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
    let quota = response.request().extensions().get::<Quota>().copied();
    let status = response.status().as_u16();
    dress(response.headers_mut(), &id, &route);
    if let Some(quota) = quota {
        write_quota(response.headers_mut(), &quota);
    }
    let took = started.elapsed();
    metrics::histogram!("kairos_http_request_duration_seconds",
        "method" => method, "route" => route.clone(), "status" => status.to_string())
    .record(took.as_secs_f64());
    if !QUIET.contains(&route.as_str()) {
        // The template of the path, never the path itself: it holds ids, and queries may hold anything.
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(target: "kairos::access", method, route, status, duration_ms, request_id = id.as_str());
    }
    Ok(response)
}

/// Names of methods as labels: a closed set, so that a caller cannot make new time series.
fn method_name(method: &str) -> &'static str {
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].into_iter().find(|known| *known == method).unwrap_or("other")
}

/// Headers that every answer has.
fn dress(headers: &mut HeaderMap, id: &RequestId, route: &str) {
    let mut set = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::X_FRAME_OPTIONS, "DENY");
    if route.starts_with("/docs") {
        let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
        set(header::CONTENT_SECURITY_POLICY, policy);
    } else {
        set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    }
    if route.starts_with("/v1/") {
        set(header::CACHE_CONTROL, "no-store");
    }
    // A name that passed the check, or that we made, is always a legal header value.
    if let Ok(value) = HeaderValue::try_from(id.as_str()) {
        headers.insert(HeaderName::from_static(REQUEST_ID_HEADER), value);
    }
}

/// `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers.
fn write_quota(headers: &mut HeaderMap, quota: &Quota) {
    let policy = format!("\"key\";q={};w={}", quota.limit, quota.window_s);
    let left = format!("\"key\";r={};t={}", quota.remaining, quota.reset_s);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

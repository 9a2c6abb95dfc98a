//! The name of a request: taken from `X-Request-Id` or made here, in every answer, problem and log line about it.

use crate::id::Ids;
use actix_web::http::header::HeaderMap;
use std::fmt::Write as _;

/// The header that carries it, both ways.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Longest name that is taken from a caller, in bytes.
const LENGTH_MAX: usize = 100;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The name of one request.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl RequestId {
    /// The caller's name for the request when it is a harmless one, else a new random one.
    pub(super) fn of(headers: &HeaderMap, ids: &Ids) -> Self {
        let given = headers.get(REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
        let is_harmless = |text: &&str| {
            (1..=LENGTH_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        };
        Self(given.filter(is_harmless).map_or_else(|| make(ids), str::to_owned))
    }

    /// The name of the request that is being answered, if one is.
    pub fn current() -> Option<String> {
        CURRENT.try_with(|id| id.0.clone()).ok()
    }

    /// Runs what answers the request under its name.
    pub(super) async fn scope<F: Future>(self, answer: F) -> F::Output {
        CURRENT.scope(self, answer).await
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn make(ids: &Ids) -> String {
    ids.bytes::<16>().iter().fold(String::from("req_"), |mut out, byte| {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

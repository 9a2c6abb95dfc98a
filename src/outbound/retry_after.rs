//! How long a peer asks to be left alone.

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Longest wait that a peer can ask for, in milliseconds: a day.
const MOST_MS: i64 = 86_400_000;

/// Reads `Retry-After`: seconds, or an HTTP date against now. Milliseconds, at most a day.
pub fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(seconds.clamp(0, MOST_MS / 1_000) * 1_000);
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some((at.timestamp().as_millisecond() - now_ms).clamp(0, MOST_MS))
}

//! Google's answers and what to do after each: a total table over (status, error code).

use crate::clock::MINUTE_MS;
use crate::outbound::{Answer, retry_after_ms};
use crate::push::verdict::{Verdict, word};
use serde::Deserialize;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
/// A 429 that does not say how long.
const QUOTA_PAUSE_MS: i64 = MINUTE_MS;

/// Every error code of FCM's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Google's")]
pub enum ErrorCode {
    Unregistered,
    InvalidArgument,
    SenderIdMismatch,
    ThirdPartyAuthError,
    QuotaExceeded,
    Unavailable,
    Internal,
    UnspecifiedError,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Unregistered,
        Self::InvalidArgument,
        Self::SenderIdMismatch,
        Self::ThirdPartyAuthError,
        Self::QuotaExceeded,
        Self::Unavailable,
        Self::Internal,
        Self::UnspecifiedError,
    ];

    /// Google's own word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unregistered => "UNREGISTERED",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::SenderIdMismatch => "SENDER_ID_MISMATCH",
            Self::ThirdPartyAuthError => "THIRD_PARTY_AUTH_ERROR",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::UnspecifiedError => "UNSPECIFIED_ERROR",
        }
    }

    /// Reads Google's word; `None` for one that this table does not know.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == text)
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorInner,
}

#[derive(Deserialize)]
struct ErrorInner {
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(rename = "errorCode", default)]
    code: String,
}

/// What an answer means. `handed_over_ms` is when the request left: an `UNREGISTERED` is a verdict of that time.
pub fn judge(answer: &Answer, handed_over_ms: i64, now_ms: i64) -> Verdict {
    let status = answer.status.as_u16();
    let body: Option<ErrorBody> = serde_json::from_slice(&answer.body).ok();
    let (canonical, details) = body.map_or((String::new(), Vec::new()), |b| (b.error.status, b.error.details));
    let code = details.iter().find(|d| d.kind == FCM_ERROR).map(|d| d.code.as_str());
    match verdict(status, code, &canonical) {
        Verdict::Unregistered { .. } => Verdict::Unregistered { at_ms: Some(handed_over_ms) },
        Verdict::Later { reason, after_ms } => {
            Verdict::Later { reason, after_ms: retry_after_ms(&answer.headers, now_ms).or(after_ms) }
        }
        other => other,
    }
}

/// The table. FCM's own code decides; without one the status, with the canonical word as the reason.
pub fn verdict(status: u16, code: Option<&str>, canonical: &str) -> Verdict {
    if status == 200 {
        return Verdict::Accepted;
    }
    let Some(known) = code.and_then(ErrorCode::parse) else { return by_status(status, code.unwrap_or(canonical)) };
    let said = known.name().to_ascii_lowercase().into();
    match known {
        // Only together with its 404 is it the verdict that a token is dead.
        ErrorCode::Unregistered if status == 404 => Verdict::Unregistered { at_ms: None },
        // The registration may be malformed, or the payload: nothing about the token is proven.
        // A token of another project: whether it or we are wrong, numbers show. What the console holds for Apple and for
        // browsers concerns their tokens alone.
        ErrorCode::Unregistered
        | ErrorCode::InvalidArgument
        | ErrorCode::SenderIdMismatch
        | ErrorCode::ThirdPartyAuthError
        | ErrorCode::UnspecifiedError => Verdict::Rejected(said),
        ErrorCode::QuotaExceeded => Verdict::Later { reason: said, after_ms: Some(QUOTA_PAUSE_MS) },
        ErrorCode::Unavailable | ErrorCode::Internal => Verdict::Later { reason: said, after_ms: None },
    }
}

fn by_status(status: u16, text: &str) -> Verdict {
    let said = if text.is_empty() { format!("http_{status}") } else { word(text) };
    match status {
        401 => Verdict::Renew(said.into()),
        // The project is unknown or closed to us; a token's death is always said by FCM's own code.
        403 | 404 => Verdict::Misconfigured(said.into()),
        429 => Verdict::Later { reason: said.into(), after_ms: Some(QUOTA_PAUSE_MS) },
        500..=599 => Verdict::Later { reason: said.into(), after_ms: None },
        _ => Verdict::Rejected(said.into()),
    }
}

/// Whether an answer proves that Google lets us in: it has taken a push, or says in FCM's own words that somebody is gone.
pub fn lets_in(answer: &Answer) -> bool {
    matches!(judge(answer, 0, 0), Verdict::Accepted | Verdict::Unregistered { .. })
}

//! Apple's answers and what to do after each: a total table over (status, reason).

use crate::outbound::{Answer, retry_after_ms};
use crate::push::verdict::{Verdict, word};

macro_rules! reasons {
    ($($name:ident),* $(,)?) => {
        /// Every reason that Apple documents, or that was seen live.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are Apple's")]
        pub enum Reason { $($name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Apple's own word.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Reads Apple's word; `None` for one that this table does not know.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $(stringify!($name) => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons!(
    BadCollapseId,
    BadDeviceToken,
    BadExpirationDate,
    BadMessageId,
    BadPriority,
    BadTopic,
    DeviceTokenNotForTopic,
    DuplicateHeaders,
    IdleTimeout,
    InvalidPushType,
    MissingDeviceToken,
    MissingTopic,
    PayloadEmpty,
    TopicDisallowed,
    BadCertificate,
    BadCertificateEnvironment,
    ExpiredProviderToken,
    Forbidden,
    InvalidProviderToken,
    MissingProviderToken,
    UnrelatedKeyIdInToken,
    BadEnvironmentKeyIdInToken,
    BadEnvironmentKeyInToken,
    BadPath,
    MethodNotAllowed,
    Unregistered,
    ExpiredToken,
    PayloadTooLarge,
    TooManyProviderTokenUpdates,
    TooManyRequests,
    InternalServerError,
    ServiceUnavailable,
    Shutdown,
);

#[derive(serde::Deserialize)]
struct ErrorBody {
    reason: Option<String>,
    timestamp: Option<i64>,
}

/// What an answer means.
pub fn judge(answer: &Answer, now_ms: i64) -> Verdict {
    // What was accepted has no body.
    let body: Option<ErrorBody> = if answer.body.is_empty() { None } else { serde_json::from_slice(&answer.body).ok() };
    let (text, timestamp) = body.map_or((None, None), |b| (b.reason, b.timestamp));
    let status = answer.status.as_u16();
    match verdict(status, text.as_deref().unwrap_or("")) {
        Verdict::Unregistered { .. } => Verdict::Unregistered { at_ms: timestamp },
        Verdict::Later { reason, .. } => Verdict::Later { reason, after_ms: retry_after_ms(&answer.headers, now_ms) },
        other => other,
    }
}

/// Apple's own word; empty when there is none.
pub fn reason(answer: &Answer) -> String {
    serde_json::from_slice::<ErrorBody>(&answer.body).ok().and_then(|body| body.reason).unwrap_or_default()
}

/// Whether an answer says that its connection is of no more use.
pub fn ends(answer: &Answer) -> bool {
    !answer.status.is_success() && matches!(verdict(answer.status.as_u16(), &reason(answer)), Verdict::Reconnect(_))
}

/// The table. A reason decides; its status only where the two contradict, or where the reason is not known.
pub fn verdict(status: u16, text: &str) -> Verdict {
    if status == 200 {
        return Verdict::Accepted;
    }
    let Some(reason) = Reason::parse(text) else { return by_status(status, text) };
    let said = word(reason.name()).into();
    match reason {
        // The request is wrong: nothing about the token is proven. A bad token is also what a token of the other
        // environment gives, so it is no reason to forget it.
        Reason::BadCollapseId
        | Reason::BadDeviceToken
        | Reason::BadExpirationDate
        | Reason::BadMessageId
        | Reason::BadPriority
        | Reason::BadTopic
        | Reason::DeviceTokenNotForTopic
        | Reason::DuplicateHeaders
        | Reason::InvalidPushType
        | Reason::MissingDeviceToken
        | Reason::MissingTopic
        | Reason::PayloadEmpty
        | Reason::BadPath
        | Reason::MethodNotAllowed
        | Reason::PayloadTooLarge => Verdict::Rejected(said),
        // The credentials are wrong: every further message would fare the same.
        Reason::TopicDisallowed
        | Reason::BadCertificate
        | Reason::BadCertificateEnvironment
        | Reason::Forbidden
        | Reason::InvalidProviderToken
        | Reason::MissingProviderToken
        | Reason::BadEnvironmentKeyIdInToken
        | Reason::BadEnvironmentKeyInToken => Verdict::Misconfigured(said),
        Reason::ExpiredProviderToken => Verdict::Renew(said),
        Reason::TooManyProviderTokenUpdates => Verdict::Hold(said),
        Reason::IdleTimeout | Reason::UnrelatedKeyIdInToken | Reason::Shutdown => Verdict::Reconnect(said),
        // Only a 410 is the verdict that a token is dead.
        Reason::Unregistered | Reason::ExpiredToken if status == 410 => Verdict::Unregistered { at_ms: None },
        Reason::Unregistered | Reason::ExpiredToken => Verdict::Rejected(said),
        Reason::TooManyRequests | Reason::InternalServerError | Reason::ServiceUnavailable => {
            Verdict::Later { reason: said, after_ms: None }
        }
    }
}

/// A reason that is not in the table, or none.
fn by_status(status: u16, text: &str) -> Verdict {
    let said = if text.is_empty() { format!("http_{status}") } else { word(text) };
    match status {
        429 | 500..=599 => Verdict::Later { reason: said.into(), after_ms: None },
        401 | 403 => Verdict::Misconfigured(said.into()),
        _ => Verdict::Rejected(said.into()),
    }
}

//! Push services' answers and what to do after each: a total table over (status, what Mozilla or Apple say besides).

use crate::outbound::{Answer, retry_after_ms};
use crate::push::verdict::{Verdict, word};

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal $word:literal,)*) => {
        /// What Mozilla's push service says besides the status (`errno`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Errno { $($(#[$doc])* $name,)* }

        impl Errno {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Mozilla's number.
            pub fn number(self) -> i64 {
                match self { $(Self::$name => $number,)* }
            }

            /// Our word for it, with the number.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => concat!($word, "_", $number),)* }
            }

            /// Reads the number; `None` for one that this table does not know.
            pub fn parse(number: i64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

errnos! {
    /// Keys of the encryption are missing.
    MissingKeys = 101 "missing_crypto_keys",
    /// The endpoint is none.
    InvalidEndpoint = 102 "invalid_endpoint",
    /// The endpoint has ended.
    ExpiredEndpoint = 103 "expired_endpoint",
    /// The body is too long.
    TooLarge = 104 "payload_too_large",
    /// The endpoint has gone while it was asked.
    Unavailable = 105 "endpoint_gone",
    /// The subscription is none any more.
    InvalidSubscription = 106 "invalid_subscription",
    /// The kind of browser is not known.
    InvalidRouter = 108 "invalid_router",
    /// Our token is not believed.
    InvalidAuthentication = 109 "invalid_authentication",
    /// Keys of the encryption are none.
    InvalidKeys = 110 "invalid_crypto_keys",
    /// A header is missing.
    MissingHeader = 111 "missing_header",
    /// The time to live is none.
    InvalidTtl = 112 "invalid_ttl",
    /// The topic is none.
    InvalidTopic = 113 "invalid_topic",
    /// It is busy: come back ever later.
    BackOff = 201 "back_off",
    /// It has failed, and may not the next time.
    Retry = 202 "retry",
}

#[derive(Default, serde::Deserialize)]
struct ErrorBody {
    errno: Option<i64>,
    reason: Option<String>,
}

/// What an answer means for a push, and whether its subscription was refused for the key that it was signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What to do.
    pub verdict: Verdict,
    /// Whether the subscription was made with another key, as it seems: or ours is wrong, which its neighbours will tell.
    pub other_key: bool,
}

/// What an answer means. `handed_over_ms` is when the request left: a 404 or 410 is a verdict of that time.
pub fn judge(answer: &Answer, handed_over_ms: i64, now_ms: i64) -> Judged {
    let status = answer.status.as_u16();
    if (200..300).contains(&status) {
        return verdict(status, None, "");
    }
    // Only Mozilla and Apple answer in JSON; what others say is for people, and not for us to keep.
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut judged = verdict(status, body.errno.and_then(Errno::parse), body.reason.as_deref().unwrap_or(""));
    match &mut judged.verdict {
        Verdict::Unregistered { at_ms } => *at_ms = Some(handed_over_ms),
        Verdict::Later { after_ms, .. } => *after_ms = retry_after_ms(&answer.headers, now_ms).or(*after_ms),
        Verdict::Accepted
        | Verdict::Rejected(_)
        | Verdict::Renew(_)
        | Verdict::Hold(_)
        | Verdict::Reconnect(_)
        | Verdict::Misconfigured(_) => {}
    }
    judged
}

/// The table. The status decides; only Apple says with a 400 or 403 what others say with statuses of their own.
pub fn verdict(status: u16, errno: Option<Errno>, reason: &str) -> Judged {
    let said = || match (errno, reason) {
        (Some(errno), _) => errno.word().into(),
        (None, "") => format!("http_{status}").into(),
        (None, reason) => word(reason).into(),
    };
    let other_key = matches!((status, reason), (400 | 403, "VapidPkHashMismatch"))
        || status == 403 && !reason.ends_with("JwtToken") && errno.is_none()
        // Mozilla has one number for a bad token and for a subscription made with another key: a row of them tells.
        || (status, errno) == (401, Some(Errno::InvalidAuthentication));
    let verdict = match (status, reason) {
        (200..300, _) => Verdict::Accepted,
        // The token is refused for what it says: another one may say it better, once.
        (401, _) | (403, "BadJwtToken" | "ExpiredJwtToken") => Verdict::Renew(said()),
        // The only ones that say beyond doubt that a subscription is over.
        (404 | 410, _) => Verdict::Unregistered { at_ms: None },
        // Windows says 406 where others say 429.
        (406 | 408 | 425 | 429, _) => Verdict::Later { reason: said(), after_ms: None },
        (500.., _) => Verdict::Later { reason: said(), after_ms: retry_at_once(errno) },
        // A subscription that has moved is told to the page by its browser, and by the page to us: a push service must
        // not send us anywhere.
        _ => Verdict::Rejected(said()),
    };
    Judged { verdict, other_key }
}

/// Milliseconds after which a service that says so may be asked again.
fn retry_at_once(errno: Option<Errno>) -> Option<i64> {
    match errno? {
        Errno::Retry => Some(1_000),
        Errno::MissingKeys
        | Errno::InvalidEndpoint
        | Errno::ExpiredEndpoint
        | Errno::TooLarge
        | Errno::Unavailable
        | Errno::InvalidSubscription
        | Errno::InvalidRouter
        | Errno::InvalidAuthentication
        | Errno::InvalidKeys
        | Errno::MissingHeader
        | Errno::InvalidTtl
        | Errno::InvalidTopic
        | Errno::BackOff => None,
    }
}

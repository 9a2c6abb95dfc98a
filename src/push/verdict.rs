//! What a gateway's answer means for a message: one word per thing to do.

use std::borrow::Cow;

/// A stable word that says why; stored with the attempt.
pub type Reason = Cow<'static, str>;

/// What to do after an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The gateway has taken it.
    Accepted,
    /// It never will: the message ends, the token stays.
    Rejected(Reason),
    /// The token is dead since `at_ms`; absent when the gateway does not say, which is no proof.
    Unregistered {
        /// UTC milliseconds.
        at_ms: Option<i64>,
    },
    /// It may later; `after_ms` is what the gateway asked for.
    Later {
        /// Why.
        reason: Reason,
        /// Milliseconds to wait at least; absent: our own back-off.
        after_ms: Option<i64>,
    },
    /// The token by which we authenticate was refused as too old: make a new one, try once more.
    Renew(Reason),
    /// We make tokens too often: keep the one in hand, wait.
    Hold(Reason),
    /// This connection is of no more use, and closed by now: try over another one.
    Reconnect(Reason),
    /// Credentials or settings are wrong, not the message: it waits, the sender pauses, and asks with one push at a time until
    /// somebody has mended them.
    Misconfigured(Reason),
}

/// A gateway's own word, in our spelling: lower case, words parted by `_`, at most 64 characters.
pub fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut after_lower = false;
    for c in text.chars().take(56) {
        if c.is_ascii_uppercase() {
            if after_lower {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            after_lower = false;
        } else if c.is_ascii_alphanumeric() {
            out.push(c);
            after_lower = true;
        } else {
            out.push('_');
            after_lower = false;
        }
    }
    out
}

//! Refresh tokens: a chain per session, one integer in the database.
//!
//! Token n of a session is a keyed hash of (app, mode, session, n), so every refresh with token n, and 64 of them at once,
//! gets the same child n + 1. The session keeps the newest n that was presented: n and n + 1 are valid, because the
//! answer with n + 1 may have been lost. When n + 1 is presented, n is dead; whoever comes with a dead token has an old
//! copy, and the session ends.

use super::impersonation::ACTING_S;
use crate::app::Settings;
use crate::clock::DAY_MS;
use crate::config::Secret;
use crate::id::{AppId, SessionId};
use crate::platform::MasterKey;

/// Within this time after a child was first presented its parent is refused but ends nothing, in milliseconds: of many
/// refreshes sent at once, some arrive after a faster one was already followed up.
const STRAGGLER_MS: i64 = 30_000;

/// What a session's row says about its refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// The newest token that was presented.
    pub generation: i64,
    /// When it was first presented.
    pub generation_ms: i64,
    /// When any was last presented.
    pub last_used_ms: i64,
    /// When the session began.
    pub created_ms: i64,
    /// Whether the session has ended.
    pub ended: bool,
}

/// A token that was presented, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// Its place in the chain.
    pub generation: i64,
    /// Now.
    pub now_ms: i64,
    /// How long sessions live.
    pub life: Life,
}

/// How long a session lives, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Without use.
    pub idle_ms: i64,
    /// From its sign-in on, however it is used; absent: without end.
    pub whole_ms: Option<i64>,
}

impl Life {
    /// What the server and an app allow together.
    pub fn of(refresh_token_life_days: i64, settings: &Settings) -> Self {
        let idle_ms = refresh_token_life_days.saturating_mul(DAY_MS);
        Self {
            idle_ms: settings.session_idle_ms.map_or(idle_ms, |own_ms| own_ms.min(idle_ms)),
            whole_ms: settings.session_life_ms,
        }
    }

    /// After which times sessions that are open still began and were used.
    pub fn since(&self, now_ms: i64) -> Since {
        Since {
            began_ms: self.whole_ms.map_or(i64::MIN, |whole_ms| now_ms - whole_ms),
            used_ms: now_ms - self.idle_ms,
            acted_ms: now_ms - ACTING_S * 1_000,
        }
    }

    /// Whether a session is over that began and was last used then.
    pub fn is_over(&self, (created_ms, last_used_ms): (i64, i64), now_ms: i64) -> bool {
        let since = self.since(now_ms);
        created_ms <= since.began_ms || last_used_ms <= since.used_ms
    }
}

/// After which times sessions that are open still began and were used, in UTC milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// When they began.
    pub began_ms: i64,
    /// When they were used last.
    pub used_ms: i64,
    /// When those began in which somebody acts for the user.
    pub acted_ms: i64,
}

impl Since {
    /// Sessions that nobody has ended, whatever their age.
    pub const EVER: Self = Self { began_ms: i64::MIN, used_ms: i64::MIN, acted_ms: i64::MIN };
}

/// What becomes of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is the child with this place in the chain.
    Child(i64),
    /// Too old, ended, or a straggler: refused, nothing else happens.
    Refused,
    /// A dead token: the session ends.
    Reused,
}

/// The whole law of refresh tokens.
pub fn judge(session: &SessionState, presented: &Presented) -> Verdict {
    if session.ended || presented.life.is_over((session.created_ms, session.last_used_ms), presented.now_ms) {
        return Verdict::Refused;
    }
    if presented.generation >= session.generation {
        return Verdict::Child(presented.generation + 1);
    }
    let is_parent = presented.generation + 1 == session.generation;
    if is_parent && presented.now_ms - session.generation_ms < STRAGGLER_MS {
        return Verdict::Refused;
    }
    Verdict::Reused
}

/// The app, and whether its live or its test key began the session.
pub(super) type Issuer<'a> = (AppId, &'a str);

/// The text of a token: `rt_<session>_<n>_<keyed hash>`.
pub(super) fn make(key: &MasterKey, issuer: Issuer<'_>, session_id: SessionId, generation: i64) -> Secret {
    let session = session_id.uuid();
    let session = session.as_simple();
    Secret::new(format!("rt_{session}_{generation}_{}", seal(key, issuer, session_id, generation)))
}

/// Reads a token that we made for this app and mode.
pub(super) fn read(key: &MasterKey, issuer: Issuer<'_>, text: &str) -> Option<(SessionId, i64)> {
    let mut parts = text.strip_prefix("rt_")?.split('_');
    let (session, generation, given) = (parts.next()?, parts.next()?, parts.next()?);
    let session_id: SessionId = format!("ses_{session}").parse().ok()?;
    let number: i64 = generation.parse().ok().filter(|n: &i64| *n >= 0 && n.to_string() == generation)?;
    let wanted = seal(key, issuer, session_id, number);
    // All bytes are compared, so that the time says nothing about where the first difference is.
    let differs = wanted.bytes().zip(given.bytes()).fold(wanted.len() ^ given.len(), |sum, (a, b)| sum | usize::from(a ^ b));
    (differs == 0 && parts.next().is_none()).then_some((session_id, number))
}

fn seal(key: &MasterKey, (app_id, mode): Issuer<'_>, session_id: SessionId, generation: i64) -> String {
    key.derive_hex("refresh token", format!("{app_id}|{mode}|{session_id}|{generation}").as_bytes())
}

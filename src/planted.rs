//! Bugs planted on purpose: proof that the tests of each promise can fail.
//!
//! Only a build with the feature `planted` has them, one at a time, chosen by `KAIROS_TEST_PLANTED` at run time. In every
//! other build [`planted`] is a constant `false` and nothing of this is left. `tests/planted/run` plants one after the
//! other and requires red.

/// What can be planted; each breaks one invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// I1: an event is acknowledged before it is on disk.
    AckBeforeCommit,
    /// I2: nobody looks at the deadline any more.
    NoDeadlineCheck,
    /// I3: a queued message goes out although consent has moved.
    NoConsentCheck,
    /// I4: after a crash what may have been handed over is handed over again.
    ResendAfterCrash,
    /// I5: caps are not counted.
    NoCaps,
    /// I6: a message goes to a token that is another user's by now.
    OldOwner,
    /// I7: a verdict on an old registration deletes the new one.
    BlindTokenKill,
    /// I8: all keys act in the app that called first.
    ForeignApp,
    /// I11: a decision depends on something that is not in its input.
    UnstableDecision,
    /// I12: a silence is stored without its reason.
    MuteSilence,
    /// I8: a route asks for no scope.
    NoScopeCheck,
    /// I8: a query forgets whose app it is.
    ForgottenApp,
    /// A user reaches what is a neighbour's.
    ForgottenUser,
    /// What a request says is in the log.
    LoggedBody,
    /// The database lets a message's life go backwards.
    NoEdgeTrigger,
}

#[cfg(feature = "planted")]
impl Bug {
    const ALL: [(&str, Self); 15] = [
        ("ack_before_commit", Self::AckBeforeCommit),
        ("no_deadline_check", Self::NoDeadlineCheck),
        ("no_consent_check", Self::NoConsentCheck),
        ("resend_after_crash", Self::ResendAfterCrash),
        ("no_caps", Self::NoCaps),
        ("old_owner", Self::OldOwner),
        ("blind_token_kill", Self::BlindTokenKill),
        ("foreign_app", Self::ForeignApp),
        ("unstable_decision", Self::UnstableDecision),
        ("mute_silence", Self::MuteSilence),
        ("no_scope_check", Self::NoScopeCheck),
        ("forgotten_app", Self::ForgottenApp),
        ("forgotten_user", Self::ForgottenUser),
        ("logged_body", Self::LoggedBody),
        ("no_edge_trigger", Self::NoEdgeTrigger),
    ];
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let choose = || {
        let name = std::env::var("KAIROS_TEST_PLANTED").ok().filter(|name| !name.is_empty())?;
        let found = Bug::ALL.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            // A misspelt bug would turn nothing red and prove nothing.
            std::process::abort();
        }
        found.map(|(_, bug)| *bug)
    };
    *CHOSEN.get_or_init(choose) == Some(bug)
}

/// Whether this bug is planted: never in this build.
#[cfg(not(feature = "planted"))]
pub const fn planted(_: Bug) -> bool {
    false
}

/// The same at every second call: what is in no input.
pub fn planted_now_and_then(bug: Bug) -> bool {
    static COIN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    planted(bug) && COIN.fetch_xor(true, std::sync::atomic::Ordering::Relaxed)
}

/// The first value that this was asked with, when the bug is planted; else the value itself.
pub fn planted_first<T: Copy + Send + Sync + 'static>(bug: Bug, value: T) -> T {
    static FIRST: std::sync::OnceLock<Box<dyn std::any::Any + Send + Sync>> = std::sync::OnceLock::new();
    if !planted(bug) {
        return value;
    }
    FIRST.get_or_init(|| Box::new(value)).downcast_ref::<T>().copied().unwrap_or(value)
}

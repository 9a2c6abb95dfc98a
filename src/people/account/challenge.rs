//! Single-use secrets: what is mailed as a link or a code, and what stands between two steps of a sign-in.
//!
//! A link's token has 128 random bits. A code has six digits, so it is worth nothing without the id of its challenge,
//! which only the caller who asked for it was told, and dies after a few tries. Only hashes are stored, keyed ones for
//! codes, and whoever comes second finds a secret used: `consume` is one statement.

use super::store::{self, Found, NewChallenge};
use crate::app::Mode;
use crate::config::Secret;
use crate::error::Result;
use crate::id::{AppId, ChallengeId, UserId};
use crate::platform::Platform;
use crate::store::{Conn, Doc};
use serde_json::Value;

/// How often a code may be tried.
const TRIES_MAX: i64 = 5;
/// Beginning of a token's text, for scanners of secrets.
const TOKEN_HEAD: &str = "ct_";

/// What a secret is for. One of another kind opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Shows that a user reads the mail of the address that they claimed.
    VerifyEmail,
    /// Signs in, or up, whoever reads the mail of an address.
    SignIn,
    /// Lets whoever reads the mail of an address set a new password.
    ResetPassword,
    /// Shows that a user reads the mail of the address that they want to have.
    ChangeEmail,
    /// Stands between the first factor and the session.
    SecondFactor,
    /// Keeps what a passkey has to sign to be registered.
    RegisterPasskey,
    /// Keeps what a passkey has to sign to sign in.
    PasskeySignIn,
    /// Keeps an authenticator's secret until its first code was seen.
    EnrollTotp,
    /// Keeps an identity of another issuer until its user has confirmed that it is theirs.
    LinkIdentity,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::SignIn => "sign_in",
            Self::ResetPassword => "reset_password",
            Self::ChangeEmail => "change_email",
            Self::SecondFactor => "second_factor",
            Self::RegisterPasskey => "register_passkey",
            Self::PasskeySignIn => "passkey_sign_in",
            Self::EnrollTotp => "enroll_totp",
            Self::LinkIdentity => "link_identity",
        }
    }
}

/// A secret to be made.
pub(super) struct Wanted {
    pub(super) app_id: AppId,
    pub(super) mode: Mode,
    pub(super) kind: Kind,
    /// The user whom it is about, if one is known.
    pub(super) user_id: Option<UserId>,
    /// The address to which it is mailed.
    pub(super) email: Option<String>,
    /// What has to be known when it is used.
    pub(super) state: Value,
    pub(super) life_ms: i64,
}

/// A secret that was made: its texts are here and nowhere else.
pub(super) struct Draft {
    row: NewChallenge,
    /// For the caller, to go with the code.
    pub(super) id: ChallengeId,
    /// For the link, or for the caller's next step.
    pub(super) token: Secret,
    /// For the mail.
    pub(super) code: Secret,
}

/// What a used secret stood for.
pub(super) struct Challenge {
    id: ChallengeId,
    pub(super) app_id: AppId,
    pub(super) mode: Mode,
    pub(super) user_id: Option<UserId>,
    pub(super) email: Option<String>,
    pub(super) state: Value,
}

impl Draft {
    pub(super) fn user_id(&self) -> Option<UserId> {
        self.row.user_id
    }
}

impl Challenge {
    fn of(found: Found) -> Result<Self> {
        let Found { id, app_id, mode, user_id, email, state, .. } = found;
        Ok(Self { id, app_id, mode: Mode::parse(&mode)?, user_id, email, state: state.0 })
    }
}

/// Makes a secret; [`open`] writes it down.
pub(super) fn draft(platform: &Platform, wanted: Wanted) -> Draft {
    let now_ms = platform.clock.now_ms();
    let id: ChallengeId = platform.ids.next();
    let random = u128::from_be_bytes(platform.ids.bytes::<16>());
    let token = Secret::new(format!("{TOKEN_HEAD}{random:032x}"));
    // 64 random bits over a million codes: no code is likelier than another by more than one in ten billion.
    let code = Secret::new(format!("{:06}", u64::from_be_bytes(platform.ids.bytes::<8>()) % 1_000_000));
    let row = NewChallenge {
        app_id: wanted.app_id,
        id,
        kind: wanted.kind.name(),
        user_id: wanted.user_id,
        email: wanted.email,
        mode: wanted.mode.name().to_owned(),
        token_hash: token_hash(platform, token.expose()),
        code_hash: code_hash(platform, id, code.expose()),
        tries: 0,
        state: Doc(wanted.state),
        created_ms: now_ms,
        expires_ms: now_ms + wanted.life_ms,
        used_ms: None,
    };
    Draft { row, id, token, code }
}

/// Writes a secret down; older ones of its kind for the same user or address are worth nothing from then on.
pub(super) fn open(conn: &mut Conn, draft: &Draft) -> Result<()> {
    store::supersede(conn, &draft.row)?;
    store::insert_challenge(conn, &draft.row)
}

/// Uses the secret up that a token opens; `None` when there is none of this kind, it was used, or its time is over. A
/// caller who has no app takes the token's word for it.
pub(super) fn redeem(
    conn: &mut Conn,
    (app_id, kind): (Option<AppId>, Kind),
    (token_hash, now_ms): (&str, i64),
) -> Result<Option<Challenge>> {
    let found = store::find(conn, kind, token_hash)?.filter(|found| app_id.is_none_or(|app_id| app_id == found.app_id));
    let Some(found) = found else { return Ok(None) };
    if !store::consume(conn, (found.app_id, found.id), now_ms)? {
        return Ok(None);
    }
    Challenge::of(found).map(Some)
}

/// As [`redeem`], by the code that was mailed. A wrong code costs a try: commit it, whatever comes back.
pub(super) fn redeem_code(
    conn: &mut Conn,
    (app_id, kind): (AppId, Kind),
    (id, code_hash): (ChallengeId, &str),
    now_ms: i64,
) -> Result<Option<Challenge>> {
    let Some(found) = take_try(conn, (app_id, kind), id, now_ms)? else { return Ok(None) };
    if found.code_hash != code_hash || !store::consume(conn, (app_id, id), now_ms)? {
        return Ok(None);
    }
    Challenge::of(found).map(Some)
}

/// What a token stands for, left as it is; `None` when [`redeem`] would find nothing.
pub(super) fn peek(conn: &mut Conn, kind: Kind, (token_hash, now_ms): (&str, i64)) -> Result<Option<Challenge>> {
    let found = store::find(conn, kind, token_hash)?;
    found.filter(|found| found.used_ms.is_none() && found.expires_ms > now_ms).map(Challenge::of).transpose()
}

/// Counts a try at what a token stands for, where something else has to be shown with it; [`use_up`] ends it. Commit,
/// whatever comes back.
pub(super) fn try_token(conn: &mut Conn, kind: Kind, (token_hash, now_ms): (&str, i64)) -> Result<Option<Challenge>> {
    let Some(found) = store::find(conn, kind, token_hash)? else { return Ok(None) };
    take_try(conn, (found.app_id, kind), found.id, now_ms)?.map(Challenge::of).transpose()
}

/// Uses up what was tried; false when somebody was faster.
pub(super) fn use_up(conn: &mut Conn, challenge: &Challenge, now_ms: i64) -> Result<bool> {
    store::consume(conn, (challenge.app_id, challenge.id), now_ms)
}

/// Ends what is open of a kind for a user.
pub(super) fn forget(conn: &mut Conn, kind: Kind, who: (AppId, UserId), now_ms: i64) -> Result<()> {
    store::use_up_all(conn, kind, who, now_ms)
}

/// Counts a try at a challenge; what it holds, when there was a try left.
pub(super) fn take_try(conn: &mut Conn, (app_id, kind): (AppId, Kind), id: ChallengeId, now_ms: i64) -> Result<Option<Found>> {
    store::take_try(conn, (app_id, id), kind, (TRIES_MAX, now_ms))
}

/// What is stored of a token's text.
pub(super) fn token_hash(platform: &Platform, token: &str) -> String {
    platform.master_key.derive_hex("challenge token", token.as_bytes())
}

/// What is stored of a code: worth nothing under another challenge.
pub(super) fn code_hash(platform: &Platform, id: ChallengeId, code: &str) -> String {
    platform.master_key.derive_hex("challenge code", format!("{id}|{code}").as_bytes())
}

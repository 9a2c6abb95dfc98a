//! Mails with a secret in them, and the notices that go to an account's owner.

use super::challenge::{self, Draft, Kind, Wanted};
use super::federation;
use super::store;
use crate::app::Mode;
use crate::clock::MINUTE_MS;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::mail::{self, Mail, Proof, Template};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::{ACCEPT_LANGUAGE, HeaderMap};
use serde_json::Value;

/// How long a link and a code to sign in are good, in milliseconds.
const SIGN_IN_LIFE_MS: i64 = 15 * MINUTE_MS;
/// How long those for a new password are.
const RESET_LIFE_MS: i64 = 30 * MINUTE_MS;
/// How long those that prove an address are.
const ADDRESS_LIFE_MS: i64 = 60 * MINUTE_MS;

/// To whom, about whom.
pub(super) struct Letter {
    pub(super) app_id: AppId,
    pub(super) mode: Mode,
    pub(super) kind: Kind,
    pub(super) user_id: Option<UserId>,
    pub(super) email: String,
    /// What has to be known when the secret is used.
    pub(super) state: Value,
    /// The reader's language, as far as the caller's phone said.
    pub(super) locale: Option<String>,
}

/// A letter with its secret, to be written down and sent in one transaction.
pub(super) struct Sealed {
    pub(super) draft: Draft,
    pub(super) expires_in_s: i64,
    app_id: AppId,
    kind: Kind,
    email: String,
    locale: Option<String>,
    expires_ms: i64,
}

/// Makes the secret of a letter.
pub(super) fn seal(platform: &Platform, letter: Letter) -> Sealed {
    let Letter { app_id, mode, kind, user_id, email, state, locale } = letter;
    let life_ms = match kind {
        Kind::ResetPassword => RESET_LIFE_MS,
        Kind::VerifyEmail | Kind::ChangeEmail => ADDRESS_LIFE_MS,
        _ => SIGN_IN_LIFE_MS,
    };
    let to = Some(email.clone());
    let draft = challenge::draft(platform, Wanted { app_id, mode, kind, user_id, email: to, state, life_ms });
    let expires_ms = platform.clock.now_ms() + life_ms;
    Sealed { draft, expires_in_s: life_ms / 1_000, app_id, kind, email, locale, expires_ms }
}

impl Sealed {
    /// Writes the secret down and its mail to the outbox. Without a reader, only the secret: whoever asked is told the same.
    pub(super) fn send(self, conn: &mut Conn, platform: &Platform, reader: Option<Option<UserId>>) -> Result<()> {
        challenge::open(conn, &self.draft)?;
        let Some(user) = reader else { return Ok(()) };
        let Draft { code, token, .. } = self.draft;
        let proof = Proof { code, token, expires_ms: self.expires_ms };
        let template = match self.kind {
            Kind::VerifyEmail => Template::VerifyEmail(proof),
            Kind::ResetPassword => Template::ResetPassword(proof),
            Kind::ChangeEmail => Template::ChangeEmail(proof),
            _ => Template::SignIn(proof),
        };
        post(conn, platform, self.app_id, &Mail { to: self.email, template, locale: self.locale, user })
    }
}

impl Sealed {
    /// As [`Sealed::send`], to an address that somebody new has claimed: when it is another account's, its owner is told.
    pub(super) fn claimed(self, conn: &mut Conn, platform: &Platform) -> Result<()> {
        match store::owner(conn, self.app_id, &self.email)? {
            None => {
                let claimant = self.draft.user_id();
                self.send(conn, platform, Some(claimant))
            }
            Some(owner) => {
                let (app, to) = (self.app_id, self.email.clone());
                self.send(conn, platform, None)?;
                notify(conn, platform, (app, owner), (&to, Template::SignUpAttempt))
            }
        }
    }
}

/// Tells an address what happened to its account, in the language that its user has chosen: whoever caused it may be
/// somebody else.
pub(super) fn notify(
    conn: &mut Conn,
    platform: &Platform,
    (app, user): (AppId, UserId),
    (to, template): (&str, Template),
) -> Result<()> {
    let locale = store::locale(conn, app, user)?;
    post(conn, platform, app, &Mail { to: to.to_owned(), template, locale, user: Some(user) })
}

/// Tells a user what happened to their account, if they have proven an address.
pub(super) fn tell(conn: &mut Conn, platform: &Platform, who: (AppId, UserId), template: Template) -> Result<()> {
    match store::email_of(conn, who.0, who.1)? {
        Some((to, Some(_))) => notify(conn, platform, who, (&to, template)),
        Some((_, None)) | None => Ok(()),
    }
}

/// Tells a user that their account is to be erased, and until when signing in takes that back. Without such a time
/// their data go at once, so the mail names nobody: it would go with them, unsent.
///
/// # Errors
/// What the database says.
pub fn tell_of_erasure(conn: &mut Conn, platform: &Platform, (app, user): (AppId, UserId), until_ms: Option<i64>) -> Result<()> {
    let Some((to, Some(_))) = store::email_of(conn, app, user)? else { return Ok(()) };
    let (locale, user) = (store::locale(conn, app, user)?, until_ms.map(|_| user));
    post(conn, platform, app, &Mail { to, template: Template::AccountDeletion { until_ms }, locale, user })
}

/// Writes a mail to the outbox, unless its address is one that its provider no longer forwards.
fn post(conn: &mut Conn, platform: &Platform, app: AppId, mail: &Mail) -> Result<()> {
    if federation::is_unreachable(conn, app, &mail.to)? {
        return Ok(());
    }
    mail::queue(conn, platform, app, mail)
}

/// The first language that a client asks for: what its user reads best.
pub(super) fn language(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?;
    let first = text.split([',', ';']).next()?.trim();
    crate::app::is_locale(first).then(|| first.to_owned())
}

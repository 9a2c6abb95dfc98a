//! What the app's own back end says of how a user comes in: their address and password, whether they may come in at all,
//! and what their tokens say.
//!
//! Its word counts as a proof: an address that it calls verified is the user's, as if they had read a mail there; the first
//! such word takes away the password, the factors and the identities of whoever had claimed it before. Where a way in changes, every session ends, and the address that was the user's is told. Who is disabled has no sessions, is
//! told nothing, and nothing is stored of where they are: as if every consent of theirs had been withdrawn, until they are
//! enabled again.

use super::access::Accounts;
use super::departure::{Gone, end_others};
use super::letter;
use super::password::{check_email, check_new};
use super::proof::purge;
use super::store::{self, Credential, End, User};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, UserId};
use crate::mail::Template;
use crate::platform::epoch;
use crate::store::Conn;

/// Longest claims, in bytes of JSON.
const CLAIMS_BYTES_MAX: usize = 2_000;

/// What is said; what is absent stays as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountPatch {
    /// An address, or none any more.
    pub email: Option<Option<String>>,
    /// Whether the address is proven.
    pub email_verified: Option<bool>,
    /// A new password.
    pub password: Option<Secret>,
    /// Whether the user may not come in.
    pub disabled: Option<bool>,
    /// What the user's tokens say beside what they always say.
    pub claims: Option<Option<FreeJson>>,
}

/// The same, checked and hashed.
#[derive(Debug, Clone)]
pub struct Grant {
    said: AccountPatch,
    /// The address that the new password is hashed for, and the hash.
    password: Option<(String, String)>,
}

/// An address, and whether it is proven.
type Address = Option<(String, bool)>;

impl Accounts {
    /// Checks what is said of a user, or of one that is to be made, and hashes the password.
    ///
    /// # Errors
    /// 400 that names the field; 503; what the database says.
    pub async fn grant(&self, app_id: AppId, user: Option<UserId>, mut said: AccountPatch) -> Result<Grant> {
        if let Some(Some(email)) = &mut said.email {
            *email = check_email(email)?;
        }
        if let Some(Some(FreeJson(claims))) = &said.claims {
            let bytes = serde_json::to_vec(claims).map_err(Error::broken)?.len();
            if bytes > CLAIMS_BYTES_MAX {
                return Err(Error::invalid("claims", "too_long", format!("may have at most {CLAIMS_BYTES_MAX} bytes of JSON")));
            }
        }
        let password = match said.password.take() {
            Some(password) => Some(self.hashed(app_id, (user, said.email.clone()), password).await?),
            None => None,
        };
        Ok(Grant { said, password })
    }

    /// Writes what `first` does, then what is said of the user, and answers what `last` reads, in one transaction.
    ///
    /// # Errors
    /// 400 that names the field, 404, 409 `email_taken` or `changed`; what the closures return; what the database says.
    pub async fn write_granted<T: Send + 'static>(
        &self,
        who: (AppId, UserId),
        grant: Grant,
        first: impl FnOnce(&mut Conn) -> Result<()> + Send + 'static,
        last: impl FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let accounts = self.clone();
        let write = move |conn: &mut Conn| {
            if grant.is_empty() {
                first(conn)?;
                return Ok((last(conn)?, Gone::default()));
            }
            // The locks come before the rows.
            grant.hold(conn, who)?;
            first(conn)?;
            let gone = grant.apply(conn, &accounts, who)?;
            Ok((last(conn)?, gone))
        };
        let done = self.write(who.0, write).await?;
        self.platform().mail_hint.nudge();
        Ok(done)
    }

    async fn hashed(
        &self,
        app_id: AppId,
        (user, email): (Option<UserId>, Option<Option<String>>),
        password: Secret,
    ) -> Result<(String, String)> {
        let email = match (email, user) {
            (Some(email), _) => email,
            (None, Some(user)) => {
                let present = self.platform().store.read(move |conn| store::email_of(conn, app_id, user)).await?;
                present.map(|(email, _)| email)
            }
            (None, None) => None,
        };
        let email = email.ok_or_else(|| Error::invalid("password", "invalid", "goes with an email: say that too"))?;
        check_new(self.platform(), app_id, ("password", &password), &email).await?;
        let hash = self.hasher().hash(Some(app_id), password, self.salt(app_id, &email)).await?;
        Ok((email, hash))
    }
}

impl Grant {
    fn is_empty(&self) -> bool {
        self.changed().is_empty()
    }

    /// The names of what is said.
    fn changed(&self) -> Vec<String> {
        let AccountPatch { email, email_verified, password: _, disabled, claims } = &self.said;
        let all = [
            ("email", email.is_some()),
            ("email_verified", email_verified.is_some()),
            ("password", self.password.is_some()),
            ("disabled", disabled.is_some()),
            ("claims", claims.is_some()),
        ];
        all.into_iter().filter(|(_, said)| *said).map(|(name, _)| name.to_owned()).collect()
    }

    fn hold(&self, conn: &mut Conn, (app_id, user): (AppId, UserId)) -> Result<()> {
        let present = match (&self.said.email, self.said.email_verified) {
            (Some(email), _) => email.clone(),
            (None, Some(_)) => store::email_of(conn, app_id, user)?.map(|(email, _)| email),
            (None, None) => None,
        };
        if let Some(email) = present {
            store::hold_email(conn, app_id, &email)?;
        }
        store::hold_user(conn, app_id, user)?;
        store::hold_sessions(conn, app_id, user)
    }

    /// Does what is said.
    ///
    /// # Errors
    /// 400 that names the field, 404, 409 `email_taken` or `changed`; what the database says.
    fn apply(&self, conn: &mut Conn, accounts: &Accounts, (app_id, user): (AppId, UserId)) -> Result<Gone> {
        let now_ms = accounts.platform().clock.now_ms();
        let user = store::user(conn, app_id, user)?.ok_or_else(|| Error::not_found("user"))?;
        let before = store::email_of(conn, app_id, user.id)?.map(|(email, verified_ms)| (email, verified_ms.is_some()));
        let after = self.after(before.clone())?;
        let mut gone = Gone::default();
        if after != before || self.password.is_some() {
            // Whoever claimed the address before may have been anybody: as with the first proof, nothing of theirs stays.
            if after.as_ref().is_some_and(|(_, verified)| *verified) && !before.as_ref().is_some_and(|(_, verified)| *verified) {
                gone = purge(conn, (app_id, user.id), now_ms)?;
            }
            self.settle(conn, (app_id, &user), (&before, &after), now_ms)?;
            gone.join(end_others(conn, (app_id, user.id), None, (End::CredentialChanged, now_ms))?);
        }
        if let Some(disabled) = self.said.disabled {
            gone.join(disable(conn, (app_id, user.id), disabled, now_ms)?.unwrap_or_default());
        }
        if let Some(claims) = &self.said.claims {
            store::set_claims(conn, app_id, user.id, claims.clone().filter(|claims| !claims.0.is_empty()))?;
        }
        store::touch(conn, app_id, user.id, (self.changed(), now_ms))?;
        self.tell(conn, accounts, (app_id, user.id), (&before, &after))?;
        Ok(gone)
    }

    /// Gives the user the address and the password.
    fn settle(
        &self,
        conn: &mut Conn,
        (app_id, user): (AppId, &User),
        (before, after): (&Address, &Address),
        now_ms: i64,
    ) -> Result<()> {
        let same = after.as_ref().map(|(email, _)| email) == before.as_ref().map(|(email, _)| email);
        match after {
            Some((email, true)) => {
                if !store::own_email(conn, app_id, (user.id, email), now_ms)? {
                    let detail = "Another account of this app has proven this address: change or delete that one first.";
                    return Err(Error::conflict("email_taken", detail));
                }
            }
            Some((_, false)) | None => store::disown_email(conn, app_id, user.id)?,
        }
        match (after, &self.password) {
            (Some((email, verified)), Some((hashed_for, hash))) if hashed_for == email => {
                let credential = Credential { app_id, email: email.clone(), password_hash: hash.clone() };
                let set = store::set_password(conn, &credential, (user.id, *verified), now_ms);
                set.map_err(taken)?;
            }
            (_, Some(_)) => return Err(Error::conflict("changed", "The user's address has just changed: try again.")),
            // A password is hashed for its address.
            (_, None) if !same => store::drop_password(conn, app_id, user.id)?,
            (_, None) => {}
        }
        if after.as_ref().is_some_and(|(_, verified)| !verified) && !store::has_password(conn, app_id, user.id)? {
            return Err(leads_nowhere());
        }
        if user.anonymous && after.is_some() {
            store::upgrade_user(conn, app_id, user.id, now_ms)?;
        }
        Ok(())
    }

    /// The address that the user has afterwards.
    fn after(&self, before: Address) -> Result<Address> {
        let verified = self.said.email_verified;
        match &self.said.email {
            None => match (before, verified) {
                (None, Some(_)) => Err(Error::invalid("email_verified", "invalid", "this user has no address: say email too")),
                (Some((email, was)), verified) => Ok(Some((email, verified.unwrap_or(was)))),
                (None, None) => Ok(None),
            },
            Some(None) if verified == Some(true) => Err(Error::invalid("email_verified", "invalid", "there is no address then")),
            Some(None) => Ok(None),
            Some(Some(email)) => {
                let was = before.is_some_and(|(before, was)| was && before == *email);
                Ok(Some((email.clone(), verified.unwrap_or(was))))
            }
        }
    }

    /// Tells the address that was the user's what became of it.
    fn tell(
        &self,
        conn: &mut Conn,
        accounts: &Accounts,
        who: (AppId, UserId),
        (before, after): (&Address, &Address),
    ) -> Result<()> {
        let Some((old, true)) = before else { return Ok(()) };
        let template = match after {
            Some((new, _)) if new != old => Template::EmailChanged { new_email: new.clone() },
            Some(_) if self.password.is_some() => Template::PasswordChanged,
            Some(_) | None => return Ok(()),
        };
        letter::notify(conn, accounts.platform(), who, (old, template))
    }
}

/// Lets a user come in, or no longer; nothing when it is so already. The user is held.
///
/// # Errors
/// What the database says.
pub(super) fn disable(conn: &mut Conn, who: (AppId, UserId), disabled: bool, now_ms: i64) -> Result<Option<Gone>> {
    store::hold_sessions(conn, who.0, who.1)?;
    if !store::set_disabled(conn, who.0, (who.1, disabled))? {
        return Ok(None);
    }
    let mut gone = Gone::default();
    if disabled {
        gone = end_others(conn, who, None, (End::Disabled, now_ms))?;
        gone.users.push(who.1);
    }
    // What waits to be sent asks again, and finds that nobody may be told anything; or that they may.
    epoch::bump(conn, who.0, epoch::Scope::Consent(who.1))?;
    Ok(Some(gone))
}

fn taken(error: Error) -> Error {
    match error {
        Error::Refused(_) => {
            let message = "another account that claims this address has it: choose another one, or say email_verified: true";
            Error::invalid("password", "taken", message)
        }
        other => other,
    }
}

fn leads_nowhere() -> Error {
    let message = "an address leads to an account when it is verified, or goes with a password: say true, or a password";
    Error::invalid("email_verified", "required", message)
}

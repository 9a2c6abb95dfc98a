//! A line about a user.

use super::line::UserLine;
use super::{Effects, Outcome, refused, store};
use crate::clock::Time;
use crate::error::Result;
use crate::http::IfMatch;
use crate::id::{AppId, UserId};
use crate::people::account::check_email;
use crate::people::account::foreign::{self, ForeignHash, Grant, Granted};
use crate::people::profile::{self, Change, NewUser, Writer, Writes};
use crate::platform::Platform;
use crate::store::Conn;
use std::collections::HashSet;

/// A line that can be worked on: everything in it that can be checked alone is right.
pub(super) struct Wanted {
    line: UserLine,
    email: Option<String>,
}

impl Wanted {
    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(super) fn check(mut line: UserLine, now_ms: i64) -> Result<Self> {
        let email = line.email.take().map(|email| check_email(&email)).transpose()?;
        if line.external_id.is_none() && email.is_none() {
            return Err(refused("external_id", "required", "say external_id or email: by it another import knows the user"));
        }
        if email.is_none() && (line.email_verified || line.password_hash.is_some()) {
            return Err(refused("email", "required", "email_verified and password_hash go with an address"));
        }
        if let Some(hash) = &line.password_hash {
            ForeignHash::parse(hash.expose())?;
        }
        if line.created_at.is_some_and(|Time(at_ms)| at_ms > now_ms) {
            return Err(refused("created_at", "out_of_range", "lies in the future"));
        }
        Ok(Self { line, email })
    }

    /// The names of this user that may have tombstones.
    pub(super) fn names(&self) -> Vec<String> {
        let external = self.line.external_id.iter().map(|external| format!("user:{external}"));
        external.chain(self.email.iter().map(|email| format!("email:{email}"))).collect()
    }

    /// Whom it is about: a user who is known, or nobody yet.
    fn known(&self, conn: &mut Conn, app: AppId) -> Result<Option<UserId>> {
        let (field, found) = match (&self.line.external_id, &self.email) {
            (Some(external), _) => ("external_id", store::by_external(conn, app, external)?),
            (None, Some(email)) => ("email", foreign::by_address(conn, app, email)?),
            (None, None) => ("external_id", None),
        };
        let Some(user) = found else { return Ok(None) };
        if !profile::are_there(conn, app, &[user])? {
            return Err(refused(field, "leaving", "this user is being erased; restore them first, or leave them out"));
        }
        Ok(Some(user))
    }

    /// Makes or changes the user.
    ///
    /// # Errors
    /// What is wrong with the line; what the database says.
    pub(super) fn work(
        &self,
        conn: &mut Conn,
        (platform, app): (&Platform, AppId),
        (buried, now_ms): (&HashSet<&str>, i64),
    ) -> Result<(Outcome, Effects)> {
        let known = self.known(conn, app)?;
        let mut effects = Effects::default();
        let (user, outcome) = match known {
            Some(user) => (user, Outcome::Updated),
            None if self.names().iter().any(|name| buried.contains(name.as_str())) => {
                let field = if self.line.external_id.is_some() { "external_id" } else { "email" };
                let message = "a user of this name was erased; if they have come back, make them by POST /v1/users";
                return Err(refused(field, "erased", message));
            }
            None => (self.create(conn, (platform, app), now_ms)?, Outcome::Created),
        };
        if known.is_some() {
            self.change(conn, (app, user), now_ms)?;
        }
        let to = Granted { app_id: app, user, now_ms };
        if let Some(email) = &self.email {
            let password_hash = self.line.password_hash.as_ref().map(|hash| hash.expose());
            foreign::grant(conn, platform, to, &Grant { email, verified: self.line.email_verified, password_hash })?;
        }
        if let Some(disabled) = self.line.disabled {
            (effects.sessions, effects.users) = foreign::disable(conn, to, disabled)?;
        }
        Ok((outcome, effects))
    }

    fn create(&self, conn: &mut Conn, (platform, app): (&Platform, AppId), now_ms: i64) -> Result<UserId> {
        let UserLine { external_id, attributes, locale, time_zone, created_at, .. } = &self.line;
        let id = platform.ids.next();
        let user = NewUser {
            id,
            external_id: external_id.clone(),
            anonymous: false,
            attributes: attributes.0.clone(),
            locale: locale.clone(),
            time_zone: time_zone.clone(),
            now_ms,
        };
        profile::create(conn, app, &user)?;
        if let Some(Time(created_ms)) = created_at {
            store::came(conn, (app, id), *created_ms)?;
        }
        Ok(id)
    }

    /// As the server's PATCH would.
    fn change(&self, conn: &mut Conn, (app, user): (AppId, UserId), now_ms: i64) -> Result<()> {
        let UserLine { attributes, locale, time_zone, .. } = &self.line;
        let change = Change {
            writes: Writes::patch(attributes.0.clone()),
            by: Writer::Server,
            locale: locale.clone().map(Some),
            time_zone: time_zone.clone().map(Some),
            external_id: None,
            now_ms,
        };
        profile::change(conn, app, (user, &IfMatch::any()), &change).map(drop)
    }
}

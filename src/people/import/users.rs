//! A line about a user.

use super::line::UserLine;
use super::{Effects, Outcome, refused, store};
use crate::clock::Time;
use crate::error::Result;
use crate::http::IfMatch;
use crate::id::{AppId, UserId};
use crate::people::account::check_email;
use crate::people::account::foreign::{self, BroughtIn, ForeignHash, To};
use crate::people::profile::{self, Change, NewUser, Writer, Writes};
use crate::platform::Platform;
use crate::store::Conn;
use std::collections::{BTreeSet, HashSet};

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
        line.external_id.as_deref().map_or(Ok(()), profile::check_external_id)?;
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

    fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    fn grant(&self) -> Option<BroughtIn<'_>> {
        let password_hash = self.line.password_hash.as_ref().map(|hash| hash.expose());
        self.email().map(|email| BroughtIn { email, verified: self.line.email_verified, password_hash })
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
        let to = To { app_id: app, user, now_ms };
        if let Some(grant) = self.grant() {
            (effects.sessions, effects.users) = foreign::bring_in(conn, platform, to, &grant)?;
        }
        if let Some(disabled) = self.line.disabled {
            let (sessions, users) = foreign::disable(conn, to, disabled)?;
            effects.sessions.extend(sessions);
            effects.users.extend(users);
        }
        Ok((outcome, effects))
    }

    fn new_user(&self, id: UserId, now_ms: i64) -> NewUser {
        let UserLine { external_id, attributes, locale, time_zone, .. } = &self.line;
        NewUser {
            id,
            external_id: external_id.clone(),
            anonymous: false,
            attributes: attributes.0.clone(),
            locale: locale.clone(),
            time_zone: time_zone.clone(),
            now_ms,
        }
    }

    fn create(&self, conn: &mut Conn, (platform, app): (&Platform, AppId), now_ms: i64) -> Result<UserId> {
        let id = platform.ids.next();
        profile::create(conn, app, &self.new_user(id, now_ms))?;
        self.came(conn, (app, id))?;
        Ok(id)
    }

    fn came(&self, conn: &mut Conn, who: (AppId, UserId)) -> Result<()> {
        self.line.created_at.map_or(Ok(()), |Time(created_ms)| store::came(conn, who, created_ms))
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

/// Holds all addresses of a chunk, then all accounts that its lines are about, each in one order: two chunks, or a chunk and
/// a sign-in, never wait for one another in a circle.
pub(super) fn hold(conn: &mut Conn, app: AppId, users: &[&Wanted]) -> Result<()> {
    let emails: BTreeSet<&str> = users.iter().filter_map(|user| user.email()).collect();
    foreign::hold_emails(conn, app, &emails)?;
    let external: Vec<&str> = users.iter().filter_map(|user| user.line.external_id.as_deref()).collect();
    let mut known = store::by_externals(conn, app, &external)?;
    let nameless = users.iter().filter(|user| user.line.external_id.is_none());
    for email in nameless.filter_map(|user| user.email()) {
        known.extend(foreign::by_address(conn, app, email)?);
    }
    foreign::hold_users(conn, app, &known)
}

/// Those of these users, in the order of their lines, whom nobody knows: they can be made together. Whoever is named in an
/// earlier line too, or in any way known, waits for a turn of their own.
pub(super) fn unknown<'l>(
    conn: &mut Conn,
    app: AppId,
    lines: impl Iterator<Item = (i64, &'l Wanted)>,
    buried: &HashSet<&str>,
) -> Result<Vec<(i64, &'l Wanted)>> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut alone: Vec<(i64, &Wanted)> = Vec::new();
    for (number, user) in lines {
        // Both names are noted, whatever the first one says.
        let is_new =
            user.names().into_iter().fold(true, |is_new, name| !buried.contains(name.as_str()) & seen.insert(name) & is_new);
        if is_new && user.line.external_id.is_some() && user.line.disabled != Some(true) {
            alone.push((number, user));
        }
    }
    let external: Vec<&str> = alone.iter().filter_map(|(_, user)| user.line.external_id.as_deref()).collect();
    let known = store::known_externals(conn, app, &external)?;
    let emails: Vec<&str> = alone.iter().filter_map(|(_, user)| user.email()).collect();
    let taken = foreign::taken(conn, app, &emails)?;
    alone.retain(|(_, user)| {
        let is_known = user.line.external_id.as_ref().is_some_and(|external| known.contains(external));
        !is_known && !user.email().is_some_and(|email| taken.contains(email))
    });
    Ok(alone)
}

/// Makes users whom nobody knows: all or none. The unique keys see to it that nobody made them meanwhile.
pub(super) fn make(
    conn: &mut Conn,
    (platform, app): (&Platform, AppId),
    (users, now_ms): (&[(i64, &Wanted)], i64),
) -> Result<()> {
    let all: Vec<(UserId, &Wanted)> = users.iter().map(|(_, user)| (platform.ids.next(), *user)).collect();
    let new: Vec<NewUser> = all.iter().map(|(id, user)| user.new_user(*id, now_ms)).collect();
    profile::create_many(conn, app, &new)?;
    for (id, user) in &all {
        user.came(conn, (app, *id))?;
    }
    let grants = all.iter().filter_map(|(id, user)| Some((*id, user.grant()?)));
    foreign::bring_in_new(conn, platform, (app, now_ms), &grants.collect::<Vec<_>>())
}

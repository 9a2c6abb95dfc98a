//! A line about a device.

use super::line::DeviceLine;
use super::{Effects, Outcome, refused, store};
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::people::device::{self, Registration, Traits};
use crate::people::{check, profile};
use crate::platform::Platform;
use crate::store::Conn;

/// Whose a device is.
enum Whose {
    User(UserId),
    External(String),
}

/// A line that can be worked on.
pub(super) struct Wanted {
    whose: Whose,
    installation_id: String,
    traits: Traits,
}

impl Wanted {
    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(super) fn check(line: DeviceLine, platform: &Platform) -> Result<Self> {
        let whose = match (line.user_id, line.external_id) {
            (Some(id), None) => Whose::User(id.parse().map_err(|_| refused("user_id", "invalid", "expected the id of a user"))?),
            (None, Some(external)) => Whose::External(external),
            (None, None) => return Err(refused("user_id", "required", "say user_id or external_id")),
            (Some(_), Some(_)) => return Err(refused("user_id", "invalid", "say user_id or external_id, not both")),
        };
        if let Whose::External(external) = &whose {
            profile::check_external_id(external)?;
        }
        check::installation("installation_id", &line.installation_id)?;
        Ok(Self { whose, installation_id: line.installation_id, traits: line.device.traits(platform)? })
    }

    /// Registers the device.
    ///
    /// # Errors
    /// What is wrong with the line; what the database says.
    pub(super) fn work(&self, conn: &mut Conn, (platform, app): (&Platform, AppId), now_ms: i64) -> Result<(Outcome, Effects)> {
        let (field, user) = match &self.whose {
            Whose::User(id) => ("user_id", Some(*id)),
            Whose::External(external) => ("external_id", store::by_external(conn, app, external)?),
        };
        let unknown = || refused(field, "unknown", "there is no such user in this app");
        let user = user.ok_or_else(unknown)?;
        if !profile::are_there(conn, app, &[user])? {
            return Err(unknown());
        }
        let registration = Registration {
            id: platform.ids.next(),
            user,
            installation_id: self.installation_id.clone(),
            session: None,
            traits: self.traits.clone(),
            now_ms,
        };
        let done = device::register(conn, app, &registration)?;
        let outcome = if done.new { Outcome::Created } else { Outcome::Updated };
        Ok((outcome, Effects { sessions: Vec::new(), users: done.displaced }))
    }
}

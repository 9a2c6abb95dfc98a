//! Profiles: who a user is to the app, in typed attributes, and what they wish to hear; topics and attributes declared.

mod attribute;
mod declared;
mod person;
pub mod personal;
mod preference;
pub mod quiet;
mod store;
mod write;

pub use attribute::{Attribute, AttributeKind, AttributeScope, Writer, Writers};
pub use declared::{
    AttributeChange, attributes, change_attribute, change_topic, declare_attribute, declare_topic, guarded, kinds, of_users,
    topics,
};
pub use person::{Change, NewUser, Person};
pub use preference::{Preferences, PreferencesPatch, QuietTime, Topic, Topics};
pub(in crate::people) use store::UserRow;
pub use write::{Declared, Writes, apply};

use crate::error::{Error, Problem, Result};
use crate::http::{IfMatch, check_text};
use crate::id::{AppId, UserId};
use crate::people::{check, device};
use crate::store::Conn;
use crate::webhook::{self, Event};
use serde_json::json;
use std::collections::HashMap;

/// Longest external id, in characters.
const EXTERNAL_ID_LIMIT: usize = 200;

/// Checks the form of an external id.
///
/// # Errors
/// 400 that names `external_id`.
pub fn check_external_id(text: &str) -> Result<()> {
    check_text("external_id", text, EXTERNAL_ID_LIMIT)
}

/// Makes a user.
///
/// # Errors
/// 400 that names the field; 409 when the external id is taken.
pub fn create(conn: &mut Conn, app: AppId, user: &NewUser) -> Result<()> {
    create_many(conn, app, std::slice::from_ref(user))
}

/// Makes many users: all or none.
///
/// # Errors
/// As [`create`].
pub fn create_many(conn: &mut Conn, app: AppId, users: &[NewUser]) -> Result<()> {
    let declared = if users.iter().all(|u| u.attributes.is_empty()) { Declared::new() } else { of_users(conn, app)? };
    let users = users.iter().map(|user| user.checked(&declared)).collect::<Result<Vec<_>>>()?;
    store::insert(conn, app, &users).map_err(taken)?;
    let made =
        |user: &NewUser| Event::of_user("user.created", (user.id, user.now_ms), "made", json!({ "anonymous": user.anonymous }));
    webhook::emit_all(conn, app, &users.iter().map(made).collect::<Vec<_>>())
}

/// The database knows only that a unique key was broken; of a profile that is the external id.
fn taken(error: Error) -> Error {
    match error {
        Error::Refused(problem) if problem.code == "already_exists" => {
            let detail = "Another user of this app has this external id.";
            Problem::new(409, "already_exists", detail).field("external_id", "duplicate", detail).into()
        }
        other => other,
    }
}

/// These users, with preferences; those that are not there are absent.
///
/// # Errors
/// What the database says.
pub fn people(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Person>> {
    store::people(conn, app, users)
}

/// Whether all of these users, each named once, are there; one who is leaving is not.
///
/// # Errors
/// What the database says.
pub fn are_there(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<bool> {
    store::are_there(conn, app, users)
}

/// What these users wish to hear; those who have said nothing are absent.
///
/// # Errors
/// What the database says.
pub fn preferences(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Preferences>> {
    store::preferences(conn, app, users)
}

/// The time zones of these users' profiles; those without one are absent.
///
/// # Errors
/// What the database says.
pub fn time_zones(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, String>> {
    store::time_zones(conn, app, users)
}

/// One user.
///
/// # Errors
/// 404.
pub fn person(conn: &mut Conn, app: AppId, user: UserId) -> Result<Person> {
    store::people(conn, app, &[user])?.remove(&user).ok_or_else(|| Error::not_found("user"))
}

/// The users behind external ids; those that nobody has are absent.
///
/// # Errors
/// What the database says.
pub fn resolve_external(conn: &mut Conn, app: AppId, external: &[String]) -> Result<HashMap<String, UserId>> {
    store::resolve(conn, app, external)
}

/// Changes a profile and settles its zone; a change that changes nothing keeps the revision.
///
/// # Errors
/// 400 that names the field, 404, 409 when the external id is taken, 412 when the caller saw another revision.
pub fn change(conn: &mut Conn, app: AppId, who: (UserId, &IfMatch), change: &Change) -> Result<Person> {
    let (user, if_match) = who;
    conn.serialise(&format!("user:{app}:{user}"))?;
    let before = person(conn, app, user)?;
    if_match.check(before.revision)?;
    let mut after = before.clone();
    if !change.writes.is_empty() {
        let declared = of_users(conn, app)?;
        after.attributes = apply(&declared, change.by, &before.attributes, &change.writes).map_err(Error::invalid_fields)?;
    }
    if let Some(locale) = &change.locale {
        locale.as_deref().map_or(Ok(()), |text| check::locale("locale", text))?;
        after.locale.clone_from(locale);
    }
    if let Some(zone) = &change.time_zone {
        after.time_zone = zone.as_deref().map(|name| check::zone("time_zone", name)).transpose()?;
    }
    if let Some(external_id) = &change.external_id {
        external_id.as_deref().map_or(Ok(()), check_external_id)?;
        after.external_id.clone_from(external_id);
    }
    if after == before {
        return Ok(before);
    }
    after.updated_ms = change.now_ms;
    if !store::update(conn, app, &after).map_err(taken)? {
        return Err(Error::Busy("a profile was changed by two at once"));
    }
    device::settle_zone(conn, app, user)?;
    webhook::emit(conn, app, &Event::of_change((user, change.now_ms), before.revision, after.differs_from(&before)))?;
    person(conn, app, user)
}

/// Changes preferences, and nothing that the change does not name.
///
/// # Errors
/// 400 that names the field, 404, 412 when the caller saw another revision.
pub fn prefer(conn: &mut Conn, app: AppId, who: (UserId, &IfMatch), patch: PreferencesPatch) -> Result<Preferences> {
    let (user, if_match) = who;
    conn.serialise(&format!("user:{app}:{user}"))?;
    let before = person(conn, app, user)?.preferences;
    if_match.check(before.revision)?;
    let topics = store::topics(conn, app)?;
    let mut after = before.changed(&topics, patch)?;
    if after != before {
        after.revision += 1;
        store::put_preferences(conn, app, user, &after)?;
    }
    Ok(after)
}

/// The zones in which users live now, each name once; '' for those without one.
///
/// # Errors
/// What the database says.
pub fn zones(conn: &mut Conn, app: AppId) -> Result<Vec<String>> {
    store::zones(conn, app)
}

/// Users in the order of their ids, at most `page.1` after `page.0`: of one zone, or all.
///
/// # Errors
/// What the database says.
pub fn walk(conn: &mut Conn, app: AppId, zone: Option<&str>, page: (Option<UserId>, i64)) -> Result<Vec<UserId>> {
    store::walk(conn, app, zone, page)
}

//! Profiles: who a user is to the app, in typed attributes, and what they wish to hear; topics and attributes declared.

mod attribute;
mod preference;
mod store;

pub use attribute::{Attribute, AttributeKind, AttributeScope, merge};
pub use preference::{Preferences, PreferencesPatch, QuietTime, Topic, Topics};

use crate::clock::DAY_MS;
use crate::error::{Error, Problem, Result};
use crate::http::{IfMatch, check_text};
use crate::id::{AppId, UserId};
use crate::people::{check, device};
use crate::store::Conn;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// Most topics, and most attributes of one scope, that an app may declare.
const DECLARED_LIMIT: usize = 500;
/// Longest time for which a thing's value may have to be held before its change counts.
const SETTLE_LIMIT_MS: i64 = 7 * DAY_MS;
/// Longest external id, in characters.
const EXTERNAL_ID_LIMIT: usize = 200;

/// A user with everything that gates, rules and templates read of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// Their id.
    pub id: UserId,
    /// The name by which another system knows them.
    pub external_id: Option<String>,
    /// Whether they have not signed up yet.
    pub anonymous: bool,
    /// Typed attributes.
    pub attributes: Map<String, Value>,
    /// The language that they chose.
    pub locale: Option<String>,
    /// The time zone that they chose.
    pub time_zone: Option<String>,
    /// What local times of theirs mean: the zone chosen, else the latest device's, else '' for the app's.
    pub zone: String,
    /// Whether they may not sign in.
    pub disabled: bool,
    /// What they wish to hear.
    pub preferences: Preferences,
    /// How often the profile was changed; preferences have their own.
    pub revision: i64,
    /// When they came.
    pub created_ms: i64,
    /// When the profile was changed last.
    pub updated_ms: i64,
}

impl Person {
    /// The zone that they chose for quiet hours, if any: that of the quiet hours, else that of the profile.
    pub fn chosen_zone(&self) -> Option<&str> {
        self.preferences.quiet_hours.as_ref().and_then(|quiet| quiet.zone.as_deref()).or(self.time_zone.as_deref())
    }
}

/// A user to be made. Only [`checked`](NewUser::checked) ones go into the database.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Their id.
    pub id: UserId,
    /// The name by which another system knows them.
    pub external_id: Option<String>,
    /// Whether they have not signed up.
    pub anonymous: bool,
    /// Typed attributes.
    pub attributes: Map<String, Value>,
    /// Language.
    pub locale: Option<String>,
    /// Time zone.
    pub time_zone: Option<String>,
    /// Now.
    pub now_ms: i64,
}

impl NewUser {
    /// A user of whom nothing is known yet.
    pub fn bare(id: UserId, anonymous: bool, now_ms: i64) -> Self {
        Self { id, external_id: None, anonymous, attributes: Map::new(), locale: None, time_zone: None, now_ms }
    }

    fn checked(&self, declared: &BTreeMap<String, AttributeKind>) -> Result<Self> {
        if let Some(external_id) = &self.external_id {
            check_text("external_id", external_id, EXTERNAL_ID_LIMIT)?;
        }
        if let Some(locale) = &self.locale {
            check::locale("locale", locale)?;
        }
        let time_zone = self.time_zone.as_deref().map(|zone| check::zone("time_zone", zone)).transpose()?;
        let attributes = merge(declared, &Map::new(), &self.attributes).map_err(Error::invalid_fields)?;
        Ok(Self { attributes, time_zone, ..self.clone() })
    }
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
    let declared =
        if users.iter().all(|u| u.attributes.is_empty()) { BTreeMap::new() } else { kinds(conn, app, AttributeScope::User)? };
    let users = users.iter().map(|user| user.checked(&declared)).collect::<Result<Vec<_>>>()?;
    store::insert(conn, app, &users).map_err(taken)
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

/// One user.
///
/// # Errors
/// 404.
pub fn person(conn: &mut Conn, app: AppId, user: UserId) -> Result<Person> {
    store::people(conn, app, &[user])?.remove(&user).ok_or_else(|| Error::not_found("user"))
}

/// An app's users after an id, in the order of their ids.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn, app: AppId, page: (&str, i64)) -> Result<Vec<Person>> {
    let ids = store::list(conn, app, page)?;
    let mut found = store::people(conn, app, &ids)?;
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// The users behind external ids; those that nobody has are absent.
///
/// # Errors
/// What the database says.
pub fn resolve_external(conn: &mut Conn, app: AppId, external: &[String]) -> Result<HashMap<String, UserId>> {
    store::resolve(conn, app, external)
}

/// A change of a profile: what is absent stays as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Merged into the attributes; `null` removes one.
    pub attributes: Map<String, Value>,
    /// A language, or none.
    pub locale: Option<Option<String>>,
    /// A time zone, or none.
    pub time_zone: Option<Option<String>>,
    /// An external id, or none.
    pub external_id: Option<Option<String>>,
    /// Whether the user has not signed up; becomes false when an anonymous user does.
    pub anonymous: Option<bool>,
    /// Now.
    pub now_ms: i64,
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
    if !change.attributes.is_empty() {
        let declared = kinds(conn, app, AttributeScope::User)?;
        after.attributes = merge(&declared, &before.attributes, &change.attributes).map_err(Error::invalid_fields)?;
    }
    if let Some(locale) = &change.locale {
        locale.as_deref().map_or(Ok(()), |text| check::locale("locale", text))?;
        after.locale.clone_from(locale);
    }
    if let Some(zone) = &change.time_zone {
        after.time_zone = zone.as_deref().map(|name| check::zone("time_zone", name)).transpose()?;
    }
    if let Some(external_id) = &change.external_id {
        external_id.as_deref().map_or(Ok(()), |text| check_text("external_id", text, EXTERNAL_ID_LIMIT))?;
        after.external_id.clone_from(external_id);
    }
    after.anonymous = change.anonymous.unwrap_or(before.anonymous);
    if after == before {
        return Ok(before);
    }
    after.updated_ms = change.now_ms;
    if !store::update(conn, app, &after).map_err(taken)? {
        return Err(Error::Busy("a profile was changed by two at once"));
    }
    device::settle_zone(conn, app, user)?;
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

/// The topics of an app.
///
/// # Errors
/// What the database says.
pub fn topics(conn: &mut Conn, app: AppId) -> Result<Topics> {
    store::topics(conn, app)
}

/// Declares a topic.
///
/// # Errors
/// 400 that names the field, 409 when the key is taken or there are too many.
pub fn declare_topic(conn: &mut Conn, app: AppId, topic: &Topic) -> Result<()> {
    check::key("key", &topic.key)?;
    check_text("name", &topic.name, 100)?;
    room_for_more(store::topics(conn, app)?.0.len())?;
    store::insert_topic(conn, app, topic)
}

/// Changes a topic's name and default; whether it is critical stays.
///
/// # Errors
/// 400 that names the field, 404.
pub fn change_topic(conn: &mut Conn, app: AppId, key: &str, to: (Option<String>, Option<bool>)) -> Result<Topic> {
    let mut topic = store::topics(conn, app)?.0.remove(key).ok_or_else(|| Error::not_found("topic"))?;
    let (name, default_on) = to;
    if let Some(name) = name {
        check_text("name", &name, 100)?;
        topic.name = name;
    }
    topic.default_on = default_on.unwrap_or(topic.default_on);
    store::update_topic(conn, app, &topic)?;
    Ok(topic)
}

/// The declared attributes of users and things.
///
/// # Errors
/// What the database says.
pub fn attributes(conn: &mut Conn, app: AppId) -> Result<Vec<Attribute>> {
    let mut all = store::attributes(conn, app)?;
    all.sort_by(|a, b| (a.scope, &a.key).cmp(&(b.scope, &b.key)));
    Ok(all)
}

/// The kinds of the declared attributes of one scope, by key.
///
/// # Errors
/// What the database says.
pub fn kinds(conn: &mut Conn, app: AppId, scope: AttributeScope) -> Result<BTreeMap<String, AttributeKind>> {
    let all = store::attributes(conn, app)?;
    Ok(all.into_iter().filter(|a| a.scope == scope).map(|a| (a.key, a.kind)).collect())
}

/// Declares an attribute.
///
/// # Errors
/// 400 that names the field, 409 when the key is taken or there are too many.
pub fn declare_attribute(conn: &mut Conn, app: AppId, attribute: &Attribute) -> Result<()> {
    check::identifier("key", &attribute.key)?;
    check_settle(attribute)?;
    let all = store::attributes(conn, app)?;
    room_for_more(all.iter().filter(|a| a.scope == attribute.scope).count())?;
    store::insert_attribute(conn, app, attribute)
}

/// Changes how long a thing's value must have been held for its change to count.
///
/// # Errors
/// 400 that names the field, 404.
pub fn change_settle(
    conn: &mut Conn,
    app: AppId,
    which: (AttributeScope, &str),
    settle_ms: Option<Option<i64>>,
) -> Result<Attribute> {
    let all = store::attributes(conn, app)?;
    let found = all.into_iter().find(|a| (a.scope, a.key.as_str()) == which);
    let mut attribute = found.ok_or_else(|| Error::not_found("attribute"))?;
    attribute.settle_ms = settle_ms.unwrap_or(attribute.settle_ms);
    check_settle(&attribute)?;
    store::update_attribute(conn, app, &attribute)?;
    Ok(attribute)
}

fn check_settle(attribute: &Attribute) -> Result<()> {
    match (attribute.scope, attribute.settle_ms) {
        (_, None) => Ok(()),
        (AttributeScope::User, Some(_)) => Err(Error::invalid("settle_ms", "invalid", "only things' attributes settle")),
        (AttributeScope::Thing, Some(ms)) if (0..=SETTLE_LIMIT_MS).contains(&ms) => Ok(()),
        (AttributeScope::Thing, Some(_)) => {
            Err(Error::invalid("settle_ms", "out_of_range", format!("must be 0 to {SETTLE_LIMIT_MS} milliseconds (7 days)")))
        }
    }
}

fn room_for_more(count: usize) -> Result<()> {
    if count < DECLARED_LIMIT {
        return Ok(());
    }
    Err(Problem::new(409, "too_many", format!("An app may declare at most {DECLARED_LIMIT}.")).into())
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

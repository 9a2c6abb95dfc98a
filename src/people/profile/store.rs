//! Users, their preferences, and what an app declares about them, in the database.

use super::{Attribute, AttributeKind, AttributeScope, NewUser, Person, Preferences, QuietTime, Topic, Topics, Writers};
use crate::app::Cap;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::consent::Channel;
use crate::store::schema::{attributes, preferences, topics, users};
use crate::store::{Conn, Doc, among};
use diesel::prelude::*;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// How many values one `in (…)` or one insert takes.
const CHUNK: usize = 500;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = users, treat_none_as_default_value = false)]
pub(in crate::people) struct UserRow {
    app_id: AppId,
    id: UserId,
    external_id: Option<String>,
    anonymous: bool,
    attributes: Doc<Map<String, Value>>,
    locale: Option<String>,
    time_zone: Option<String>,
    zone: String,
    disabled: bool,
    revision: i64,
    created_ms: i64,
    updated_ms: i64,
}

impl UserRow {
    fn new(app_id: AppId, user: &NewUser) -> Self {
        Self {
            app_id,
            id: user.id,
            external_id: user.external_id.clone(),
            anonymous: user.anonymous,
            attributes: Doc(user.attributes.clone()),
            locale: user.locale.clone(),
            time_zone: user.time_zone.clone(),
            zone: user.time_zone.clone().unwrap_or_default(),
            disabled: false,
            revision: 1,
            created_ms: user.now_ms,
            updated_ms: user.now_ms,
        }
    }

    pub(in crate::people) fn person(self, preferences: Preferences) -> Person {
        Person {
            id: self.id,
            external_id: self.external_id,
            anonymous: self.anonymous,
            attributes: self.attributes.0,
            locale: self.locale,
            time_zone: self.time_zone,
            zone: self.zone,
            disabled: self.disabled,
            preferences,
            revision: self.revision,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
        }
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = preferences, treat_none_as_default_value = false, treat_none_as_null = true)]
struct PreferencesRow {
    app_id: AppId,
    user_id: UserId,
    topics: Doc<BTreeMap<String, bool>>,
    channels: Doc<BTreeMap<Channel, bool>>,
    quiet_hours: Option<Doc<QuietTime>>,
    frequency: Option<Doc<Cap>>,
    pause_until_ms: Option<i64>,
    revision: i64,
}

impl PreferencesRow {
    fn preferences(self) -> Preferences {
        Preferences {
            topics: self.topics.0,
            channels: self.channels.0,
            quiet_hours: self.quiet_hours.map(|doc| doc.0),
            frequency: self.frequency.map(|doc| doc.0),
            pause_until_ms: self.pause_until_ms,
            revision: self.revision,
        }
    }
}

pub(super) fn insert(conn: &mut Conn, app: AppId, new: &[NewUser]) -> Result<()> {
    for chunk in new.chunks(CHUNK) {
        let rows: Vec<UserRow> = chunk.iter().map(|user| UserRow::new(app, user)).collect();
        on!(conn, c => diesel::insert_into(users::table).values(&rows).execute(c))?;
    }
    Ok(())
}

pub(super) fn people(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<HashMap<UserId, Person>> {
    let rows: Vec<UserRow> = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(among(users::id, ids)).and(users::leaving_ms.is_null()))
        .select(UserRow::as_select())
        .load(c))?;
    let mut chosen = preferences(conn, app, ids)?;
    let person = |row: UserRow| {
        let preferences = chosen.remove(&row.id).unwrap_or_default();
        (row.id, row.person(preferences))
    };
    Ok(rows.into_iter().map(person).collect())
}

pub(super) fn preferences(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<HashMap<UserId, Preferences>> {
    let rows: Vec<PreferencesRow> = on!(conn, c => preferences::table
        .filter(preferences::app_id.eq(app).and(among(preferences::user_id, ids)))
        .select(PreferencesRow::as_select())
        .load(c))?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.preferences())).collect())
}

pub(super) fn time_zones(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<HashMap<UserId, String>> {
    let rows: Vec<(UserId, Option<String>)> = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(among(users::id, ids)).and(users::time_zone.is_not_null()))
        .select((users::id, users::time_zone))
        .load(c))?;
    Ok(rows.into_iter().filter_map(|(id, zone)| Some((id, zone?))).collect())
}

/// Whether all of these users are there; one who is leaving is not.
pub(super) fn are_there(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<bool> {
    let n: i64 = on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(among(users::id, ids)).and(users::leaving_ms.is_null()))
        .count()
        .get_result(c))?;
    Ok(usize::try_from(n).is_ok_and(|n| n == ids.len()))
}

pub(super) fn resolve(conn: &mut Conn, app: AppId, external: &[String]) -> Result<HashMap<String, UserId>> {
    let mut found = HashMap::with_capacity(external.len());
    for chunk in external.chunks(CHUNK) {
        let rows: Vec<(Option<String>, UserId)> = on!(conn, c => users::table
            .filter(users::app_id.eq(app).and(users::external_id.eq_any(chunk)).and(users::leaving_ms.is_null()))
            .select((users::external_id, users::id))
            .load(c))?;
        found.extend(rows.into_iter().filter_map(|(external, id)| Some((external?, id))));
    }
    Ok(found)
}

/// Writes a profile whose revision is still the one that was read. Answers whether it was.
pub(super) fn update(conn: &mut Conn, app: AppId, person: &Person) -> Result<bool> {
    let rows = on!(conn, c => diesel::update(users::table
            .filter(users::app_id.eq(app).and(users::id.eq(person.id)).and(users::revision.eq(person.revision))))
        .set((
            users::external_id.eq(&person.external_id),
            users::attributes.eq(Doc(person.attributes.clone())),
            users::locale.eq(&person.locale),
            users::time_zone.eq(&person.time_zone),
            users::revision.eq(person.revision + 1),
            users::updated_ms.eq(person.updated_ms),
        ))
        .execute(c))?;
    Ok(rows == 1)
}

pub(super) fn put_preferences(conn: &mut Conn, app: AppId, user: UserId, new: &Preferences) -> Result<()> {
    let row = PreferencesRow {
        app_id: app,
        user_id: user,
        topics: Doc(new.topics.clone()),
        channels: Doc(new.channels.clone()),
        quiet_hours: new.quiet_hours.clone().map(Doc),
        frequency: new.frequency.map(Doc),
        pause_until_ms: new.pause_until_ms,
        revision: new.revision,
    };
    on!(conn, c => diesel::insert_into(preferences::table)
        .values(&row)
        .on_conflict((preferences::app_id, preferences::user_id))
        .do_update()
        .set(&row)
        .execute(c))?;
    Ok(())
}

pub(super) fn topics(conn: &mut Conn, app: AppId) -> Result<Topics> {
    let rows: Vec<(String, String, bool, bool, i64)> = on!(conn, c => topics::table
        .filter(topics::app_id.eq(app))
        .select((topics::key, topics::name, topics::default_on, topics::critical, topics::created_ms))
        .load(c))?;
    let topic = |(key, name, default_on, critical, created_ms): (String, String, bool, bool, i64)| {
        (key.clone(), Topic { key, name, default_on, critical, created_ms })
    };
    Ok(Topics(rows.into_iter().map(topic).collect()))
}

pub(super) fn insert_topic(conn: &mut Conn, app: AppId, topic: &Topic) -> Result<()> {
    on!(conn, c => diesel::insert_into(topics::table)
        .values((
            topics::app_id.eq(app),
            topics::key.eq(&topic.key),
            topics::name.eq(&topic.name),
            topics::default_on.eq(topic.default_on),
            topics::critical.eq(topic.critical),
            topics::created_ms.eq(topic.created_ms),
        ))
        .execute(c))?;
    Ok(())
}

pub(super) fn update_topic(conn: &mut Conn, app: AppId, topic: &Topic) -> Result<()> {
    on!(conn, c => diesel::update(topics::table.filter(topics::app_id.eq(app).and(topics::key.eq(&topic.key))))
        .set((topics::name.eq(&topic.name), topics::default_on.eq(topic.default_on)))
        .execute(c))?;
    Ok(())
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = attributes, treat_none_as_default_value = false, treat_none_as_null = true)]
struct AttributeRow {
    app_id: AppId,
    scope: String,
    key: String,
    kind: String,
    settle_ms: Option<i64>,
    created_ms: i64,
    name: Option<String>,
    pii: bool,
    purpose: Option<String>,
    writers: String,
    question: Option<Doc<BTreeMap<String, String>>>,
    options: Option<Doc<Vec<Value>>>,
}

impl AttributeRow {
    fn new(app_id: AppId, attribute: &Attribute) -> Self {
        Self {
            app_id,
            scope: attribute.scope.name().to_owned(),
            key: attribute.key.clone(),
            kind: attribute.kind.name().to_owned(),
            settle_ms: attribute.settle_ms,
            created_ms: attribute.created_ms,
            name: attribute.name.clone(),
            pii: attribute.pii,
            purpose: attribute.purpose.clone(),
            writers: attribute.writers.name().to_owned(),
            question: attribute.question.clone().map(Doc),
            options: attribute.options.clone().map(Doc),
        }
    }

    fn attribute(self) -> Result<Attribute> {
        let unknown = |word: &str| Error::broken(format!("an attribute has the unknown word {word}"));
        Ok(Attribute {
            scope: AttributeScope::named(&self.scope).ok_or_else(|| unknown(&self.scope))?,
            kind: AttributeKind::named(&self.kind).ok_or_else(|| unknown(&self.kind))?,
            writers: Writers::named(&self.writers).ok_or_else(|| unknown(&self.writers))?,
            key: self.key,
            name: self.name,
            pii: self.pii,
            purpose: self.purpose,
            question: self.question.map(|doc| doc.0),
            options: self.options.map(|doc| doc.0),
            settle_ms: self.settle_ms,
            created_ms: self.created_ms,
        })
    }
}

pub(super) fn attributes(conn: &mut Conn, app: AppId) -> Result<Vec<Attribute>> {
    let rows: Vec<AttributeRow> =
        on!(conn, c => attributes::table.filter(attributes::app_id.eq(app)).select(AttributeRow::as_select()).load(c))?;
    rows.into_iter().map(AttributeRow::attribute).collect()
}

pub(super) fn guarded(conn: &mut Conn, app: AppId) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, Option<String>)> = on!(conn, c => attributes::table
        .filter(attributes::app_id.eq(app).and(attributes::scope.eq(AttributeScope::User.name())))
        .filter(attributes::purpose.is_not_null())
        .select((attributes::key, attributes::purpose))
        .load(c))?;
    Ok(rows.into_iter().filter_map(|(key, purpose)| Some((key, purpose?))).collect())
}

pub(super) fn insert_attribute(conn: &mut Conn, app: AppId, attribute: &Attribute) -> Result<()> {
    let row = AttributeRow::new(app, attribute);
    on!(conn, c => diesel::insert_into(attributes::table).values(&row).execute(c))?;
    Ok(())
}

pub(super) fn update_attribute(conn: &mut Conn, app: AppId, attribute: &Attribute) -> Result<()> {
    let row = AttributeRow::new(app, attribute);
    on!(conn, c => diesel::update(attributes::table.find((app, &row.scope, &row.key))).set(&row).execute(c))?;
    Ok(())
}

/// The zones in which users live, each name once.
pub(super) fn zones(conn: &mut Conn, app: AppId) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    loop {
        // From one name to the next along the index: the cost grows with the zones, not with the users.
        let next: Option<String> = match found.last() {
            None => on!(conn, c => users::table.filter(users::app_id.eq(app))
                .order(users::zone).select(users::zone).first(c).optional())?,
            Some(last) => on!(conn, c => users::table.filter(users::app_id.eq(app).and(users::zone.gt(last)))
                .order(users::zone).select(users::zone).first(c).optional())?,
        };
        match next {
            Some(zone) => found.push(zone),
            None => return Ok(found),
        }
    }
}

/// Users by id after one, of one zone or of all.
pub(super) fn walk(
    conn: &mut Conn,
    app: AppId,
    zone: Option<&str>,
    (after, limit): (Option<UserId>, i64),
) -> Result<Vec<UserId>> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    Ok(match zone {
        None => on!(conn, c => users::table
            .filter(users::app_id.eq(app).and(users::id.gt(&after)).and(users::leaving_ms.is_null()))
            .order(users::id).limit(limit).select(users::id).load(c))?,
        Some(zone) => on!(conn, c => users::table
            .filter(users::app_id.eq(app).and(users::zone.eq(zone)).and(users::id.gt(&after)).and(users::leaving_ms.is_null()))
            .order(users::id).limit(limit).select(users::id).load(c))?,
    })
}

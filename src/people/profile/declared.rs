//! What an app declares about people and things: topics and typed attributes.

use super::attribute::{Attribute, AttributeKind, AttributeScope};
use super::preference::{Topic, Topics};
use super::store;
use crate::clock::DAY_MS;
use crate::error::{Error, Problem, Result};
use crate::http::check_text;
use crate::id::AppId;
use crate::people::check;
use crate::store::Conn;
use std::collections::BTreeMap;

/// Most topics, and most attributes of one scope, that an app may declare.
const DECLARED_LIMIT: usize = 500;
/// Longest time for which a thing's value may have to be held before its change counts.
const SETTLE_LIMIT_MS: i64 = 7 * DAY_MS;

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

//! What an app declares about people and things: topics and typed attributes.

use super::attribute::{Attribute, AttributeKind, AttributeScope, Writer, Writers};
use super::preference::{Topic, Topics};
use super::store;
use super::write::Declared;
use crate::clock::DAY_MS;
use crate::error::{Error, Problem, Result};
use crate::http::check_text;
use crate::id::AppId;
use crate::people::{check, consent};
use crate::store::Conn;
use serde_json::Value;
use std::collections::BTreeMap;

/// Most topics, and most attributes of one scope, that an app may declare.
const DECLARED_LIMIT: usize = 500;
/// Longest name of an attribute for people, in characters.
const NAME_LIMIT: usize = 100;
/// Longest question, in characters.
const QUESTION_LIMIT: usize = 300;
/// Most languages of one question.
const LANGUAGES_LIMIT: usize = 50;
/// Most options of one attribute.
const OPTIONS_LIMIT: usize = 50;
/// Names that every object has in the language of many apps.
const RESERVED: [&str; 2] = ["constructor", "prototype"];
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

/// The declared attributes of users, by key.
///
/// # Errors
/// What the database says.
pub fn of_users(conn: &mut Conn, app: AppId) -> Result<Declared> {
    let all = store::attributes(conn, app)?;
    Ok(all.into_iter().filter(|a| a.scope == AttributeScope::User).map(|a| (a.key.clone(), a)).collect())
}

/// The attributes of users that may be read under a purpose alone: key and purpose.
///
/// # Errors
/// What the database says.
pub fn guarded(conn: &mut Conn, app: AppId) -> Result<BTreeMap<String, String>> {
    store::guarded(conn, app)
}

/// Declares an attribute.
///
/// # Errors
/// 400 that names the field, 409 when the key is taken or there are too many.
pub fn declare_attribute(conn: &mut Conn, app: AppId, attribute: &Attribute) -> Result<()> {
    check::identifier("key", &attribute.key)?;
    if RESERVED.contains(&attribute.key.as_str()) {
        return Err(Error::invalid("key", "reserved", "this name means something else to many a program; choose another"));
    }
    check_attribute(conn, app, attribute)?;
    let all = store::attributes(conn, app)?;
    room_for_more(all.iter().filter(|a| a.scope == attribute.scope).count())?;
    store::insert_attribute(conn, app, attribute)
}

/// What to change of an attribute: what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct AttributeChange {
    /// Its name for people, or none.
    pub name: Option<Option<String>>,
    /// Whether it says who somebody is.
    pub pii: Option<bool>,
    /// The purpose needed to read it, or none.
    pub purpose: Option<Option<String>>,
    /// Who may write it.
    pub writers: Option<Writers>,
    /// How users are asked for it, or that they are not.
    pub question: Option<Option<BTreeMap<String, String>>>,
    /// The only values from now on, or that all are taken.
    pub options: Option<Option<Vec<Value>>>,
    /// Of things: how long a value must have been held for its change to count, or that every change counts at once.
    pub settle_ms: Option<Option<i64>>,
}

/// Changes everything of an attribute but its key and kind. Values that are there already stay.
///
/// # Errors
/// 400 that names the field, 404.
pub fn change_attribute(
    conn: &mut Conn,
    app: AppId,
    which: (AttributeScope, &str),
    change: AttributeChange,
) -> Result<Attribute> {
    let all = store::attributes(conn, app)?;
    let found = all.into_iter().find(|a| (a.scope, a.key.as_str()) == which);
    let Attribute { scope, key, kind, name, pii, purpose, writers, question, options, settle_ms, created_ms } =
        found.ok_or_else(|| Error::not_found("attribute"))?;
    let attribute = Attribute {
        name: change.name.unwrap_or(name),
        pii: change.pii.unwrap_or(pii),
        purpose: change.purpose.unwrap_or(purpose),
        writers: change.writers.unwrap_or(writers),
        question: change.question.unwrap_or(question),
        options: change.options.unwrap_or(options),
        settle_ms: change.settle_ms.unwrap_or(settle_ms),
        scope,
        key,
        kind,
        created_ms,
    };
    check_attribute(conn, app, &attribute)?;
    store::update_attribute(conn, app, &attribute)?;
    Ok(attribute)
}

fn check_attribute(conn: &mut Conn, app: AppId, attribute: &Attribute) -> Result<()> {
    attribute.name.as_ref().map_or(Ok(()), |name| check_text("name", name, NAME_LIMIT))?;
    check_settle(attribute)?;
    match attribute.scope {
        AttributeScope::User => {}
        AttributeScope::Thing => return check_thing(attribute),
    }
    if let Some(purpose) = &attribute.purpose
        && consent::purposes(conn, app)?.get(purpose).is_none()
    {
        return Err(Error::invalid("purpose", "unknown", "this app has no such purpose; /v1/purposes lists them"));
    }
    check_question(attribute)?;
    check_options(attribute)
}

/// What only people have.
fn check_thing(attribute: &Attribute) -> Result<()> {
    let of_people = [
        ("pii", attribute.pii),
        ("purpose", attribute.purpose.is_some()),
        ("writers", attribute.writers != Writers::default()),
        ("question", attribute.question.is_some()),
        ("options", attribute.options.is_some()),
    ];
    match of_people.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Error::invalid(*field, "invalid", "only users' attributes have this")),
        None => Ok(()),
    }
}

fn check_question(attribute: &Attribute) -> Result<()> {
    let Some(texts) = &attribute.question else { return Ok(()) };
    if !attribute.writers.include(Writer::User) {
        return Err(Error::invalid("question", "invalid", "users may not write this attribute, so they cannot be asked for it"));
    }
    if !(1..=LANGUAGES_LIMIT).contains(&texts.len()) {
        return Err(Error::invalid("question", "out_of_range", format!("expected texts in 1 to {LANGUAGES_LIMIT} languages")));
    }
    for (locale, text) in texts {
        check::locale("question", locale)?;
        check_text(&format!("question.{locale}"), text, QUESTION_LIMIT)?;
    }
    Ok(())
}

fn check_options(attribute: &Attribute) -> Result<()> {
    let Some(options) = &attribute.options else { return Ok(()) };
    let wrong = |message: &str| Err(Error::invalid("options", "invalid", message));
    if !(1..=OPTIONS_LIMIT).contains(&options.len()) {
        return Err(Error::invalid("options", "out_of_range", format!("expected 1 to {OPTIONS_LIMIT} options")));
    }
    let is_value = |option: &Value| match attribute.kind {
        AttributeKind::String | AttributeKind::Number => attribute.kind.fault(option).is_none(),
        AttributeKind::List => attribute.kind.fault(&Value::Array(vec![option.clone()])).is_none(),
        AttributeKind::Boolean | AttributeKind::Time => false,
    };
    if matches!(attribute.kind, AttributeKind::Boolean | AttributeKind::Time) {
        return wrong("only attributes of the kinds string, number and list have options");
    }
    if !options.iter().all(is_value) {
        return wrong("an option must be a value of the attribute's kind, or an item of its list");
    }
    if (1..options.len()).any(|n| options[..n].contains(&options[n])) {
        return wrong("an option comes twice");
    }
    Ok(())
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

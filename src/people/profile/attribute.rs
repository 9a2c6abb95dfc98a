//! Declared attributes: of which kind, under which purpose, who may write them, how users are asked for them. Pure.

use crate::clock::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest text value, in characters.
const TEXT_LIMIT: usize = 1024;
/// Most items of a list.
const LIST_LIMIT: usize = 100;
/// Longest item of a list, in characters.
const ITEM_LIMIT: usize = 256;

/// Whose attribute it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeScope {
    /// Of users: `user.attributes` in rules.
    User,
    /// Of things: a change of it is an event.
    Thing,
}

impl AttributeScope {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Thing => "thing",
        }
    }

    /// The scope behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::User, Self::Thing].into_iter().find(|s| s.name() == word)
    }
}

/// The type of an attribute's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// Text of at most 1,024 characters.
    String,
    /// A finite number.
    Number,
    /// True or false.
    Boolean,
    /// An RFC 3339 time.
    Time,
    /// At most 100 texts of at most 256 characters.
    List,
}

impl AttributeKind {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::List => "list",
        }
    }

    /// The kind behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::String, Self::Number, Self::Boolean, Self::Time, Self::List].into_iter().find(|k| k.name() == word)
    }

    /// What is wrong with a value of this kind, if anything.
    pub fn fault(self, value: &Value) -> Option<(&'static str, String)> {
        let long = |text: &str, limit: usize| text.chars().count() > limit;
        match (self, value) {
            (Self::String, Value::String(text)) if long(text, TEXT_LIMIT) => {
                Some(("too_long", format!("may have at most {TEXT_LIMIT} characters")))
            }
            (Self::Time, Value::String(text)) => Time::parse(text).err().map(|message| ("invalid", message.to_owned())),
            (Self::List, Value::Array(items)) if items.len() > LIST_LIMIT => {
                Some(("too_long", format!("may have at most {LIST_LIMIT} items")))
            }
            (Self::List, Value::Array(items)) => items.iter().find_map(|item| match item {
                Value::String(text) if !long(text, ITEM_LIMIT) => None,
                Value::String(_) => Some(("too_long", format!("an item may have at most {ITEM_LIMIT} characters"))),
                _ => Some(("invalid", "expected a list of texts".to_owned())),
            }),
            (Self::String, Value::String(_)) | (Self::Number, Value::Number(_)) | (Self::Boolean, Value::Bool(_)) => None,
            (Self::String | Self::Number | Self::Boolean | Self::Time | Self::List, _) => {
                Some(("invalid", format!("expected a value of the declared kind {}", self.name())))
            }
        }
    }
}

/// Who may write an attribute of users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Writers {
    /// The user alone, in the app.
    User,
    /// The app's back end alone.
    Server,
    /// Either.
    #[default]
    Both,
}

impl Writers {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Server => "server",
            Self::Both => "both",
        }
    }

    /// The writers behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::User, Self::Server, Self::Both].into_iter().find(|w| w.name() == word)
    }

    /// Whether this one is among them.
    pub fn include(self, writer: Writer) -> bool {
        match self {
            Self::User => writer == Writer::User,
            Self::Server => writer == Writer::Server,
            Self::Both => true,
        }
    }
}

/// Who is writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writer {
    /// The user.
    #[default]
    User,
    /// The app's back end.
    Server,
}

/// A declared attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Whose.
    pub scope: AttributeScope,
    /// Its name in rules and templates.
    pub key: String,
    /// The type of its values.
    pub kind: AttributeKind,
    /// Its name for people.
    pub name: Option<String>,
    /// Whether it says who somebody is.
    pub pii: bool,
    /// The purpose to which a user must have agreed for rules and templates to see it.
    pub purpose: Option<String>,
    /// Who may write it.
    pub writers: Writers,
    /// How users are asked for it, by language.
    pub question: Option<BTreeMap<String, String>>,
    /// The only values that it takes, or of a list the only items.
    pub options: Option<Vec<Value>>,
    /// Of things: how long a value must have been held for its change to count, in milliseconds.
    pub settle_ms: Option<i64>,
    /// When it was declared.
    pub created_ms: i64,
}

impl Attribute {
    /// An attribute of which nothing but its kind is known.
    pub fn new(scope: AttributeScope, key: impl Into<String>, kind: AttributeKind) -> Self {
        Self {
            scope,
            key: key.into(),
            kind,
            name: None,
            pii: false,
            purpose: None,
            writers: Writers::default(),
            question: None,
            options: None,
            settle_ms: None,
            created_ms: 0,
        }
    }

    /// What is wrong with a value of it, if anything.
    pub fn fault(&self, value: &Value) -> Option<(&'static str, String)> {
        self.kind.fault(value).or_else(|| {
            let options = self.options.as_ref()?;
            let is_option = |value: &Value| options.iter().any(|option| same(option, value));
            let good = value.as_array().map_or_else(|| is_option(value), |items| items.iter().all(is_option));
            (!good).then(|| ("invalid", format!("expected one of {}", Value::from(options.clone()))))
        })
    }

    /// Its question for somebody who reads these languages, the dearest first: of the first that has any the very one,
    /// else without its last parts; else the first by name.
    pub fn question_in(&self, locales: &[&str]) -> Option<&str> {
        let texts = self.question.as_ref()?;
        let find = |tag: &str| texts.iter().find(|(locale, _)| locale.eq_ignore_ascii_case(tag)).map(|(_, text)| text.as_str());
        let of = |locale: &str| {
            let mut tag = locale;
            while !tag.is_empty() {
                if let Some(text) = find(tag) {
                    return Some(text);
                }
                tag = tag.rsplit_once('-').map_or("", |(shorter, _)| shorter);
            }
            None
        };
        locales.iter().find_map(|locale| of(locale)).or_else(|| texts.values().next().map(String::as_str))
    }
}

/// 1 and 1.0 are one number.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

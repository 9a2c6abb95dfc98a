//! Declared attributes, and the merge of a patch into a user's attributes. Pure.

use crate::clock::Time;
use crate::error::FieldError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest text value, in characters.
const TEXT_LIMIT: usize = 1024;
/// Most items of a list.
const LIST_LIMIT: usize = 100;
/// Longest item of a list, in characters.
const ITEM_LIMIT: usize = 256;
/// Most bytes of all attributes of one user, as JSON.
const TOTAL_LIMIT_BYTES: usize = 32 * 1024;

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

/// A declared attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Whose.
    pub scope: AttributeScope,
    /// Its name in rules and templates.
    pub key: String,
    /// The type of its values.
    pub kind: AttributeKind,
    /// Of things: how long a value must have been held for its change to count, in milliseconds.
    pub settle_ms: Option<i64>,
    /// When it was declared.
    pub created_ms: i64,
}

/// Merges a patch (RFC 7396) into a user's attributes: `null` removes, unknown names and wrong types are refused.
///
/// # Errors
/// All fields at fault, under `attributes.`.
pub fn merge(
    declared: &BTreeMap<String, AttributeKind>,
    current: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut merged = current.clone();
    let mut faults = Vec::new();
    for (key, value) in patch {
        let field = format!("attributes.{}", key.chars().take(64).collect::<String>());
        let fault = match declared.get(key) {
            None => Some(("unknown", "not a declared attribute; /v1/attributes declares them".to_owned())),
            Some(_) if value.is_null() => None,
            Some(kind) => kind.fault(value),
        };
        match fault {
            Some((code, message)) => faults.push(FieldError { field, code, message }),
            None if value.is_null() => drop(merged.remove(key)),
            None => drop(merged.insert(key.clone(), value.clone())),
        }
    }
    let bytes = serde_json::to_string(&merged).map_or(usize::MAX, |text| text.len());
    if bytes > TOTAL_LIMIT_BYTES {
        let message = format!("all attributes together may have at most {TOTAL_LIMIT_BYTES} bytes as JSON");
        faults.push(FieldError { field: "attributes".to_owned(), code: "too_long", message });
    }
    if faults.is_empty() { Ok(merged) } else { Err(faults) }
}

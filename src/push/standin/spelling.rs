//! Names of Google's fields in either spelling, as its parsers take them: lowerCamelCase, or the snake_case of the original.
//!
//! JSON of Protocol Buffers (protobuf.dev/programming-guides/json) also lets `null` stand for a field that is not there.

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt;

/// Reads a body whose fields are known by their names in lowerCamelCase.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let whole = Field { name: "", within: "" }.deserialize(&mut json)?;
    json.end()?;
    serde_json::from_value(whole)
}

/// The field whose value is read, and the one that it stands in.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'a str,
    within: &'a str,
}

impl Field<'_> {
    /// Whether the names in it are the sender's own: they stay as they are.
    fn is_the_senders(self) -> bool {
        matches!(
            (self.within, self.name),
            ("message" | "android" | "webpush", "data")
                | ("apns" | "webpush", "headers")
                | ("apns", "payload")
                | ("webpush", "notification")
        )
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        if self.is_the_senders() { Deserialize::deserialize(d) } else { d.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::from(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(spelt) = fields.next_key::<String>()? {
            let name = camel(&spelt);
            let value = fields.next_value_seed(Field { name: &name, within: self.name })?;
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom(format!("duplicate field `{spelt}`")));
            }
        }
        // Not sooner: a field that is there twice is an error also when it is null once.
        all.retain(|_, value| !value.is_null());
        Ok(Value::Object(all))
    }
}

/// A name in snake_case as it is in lowerCamelCase. Whatever is neither stays as it is, and is no field.
fn camel(name: &str) -> String {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if !name.split('_').all(is_word) {
        return name.to_owned();
    }
    let mut raised = false;
    let letter = |c: char| {
        let first = std::mem::replace(&mut raised, c == '_');
        (c != '_').then_some(if first { c.to_ascii_uppercase() } else { c })
    };
    name.chars().filter_map(letter).collect()
}

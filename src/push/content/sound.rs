//! What is heard: `default`, `none`, a file of the app by name, or a critical sound.

use super::parts::Share;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// Longest name of a sound, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 100;

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// Nothing.
    None,
    /// `default`, or a file of the app.
    Named(String),
    /// Heard although the phone is silent; Apple's phones alone, for apps that Apple lets do it.
    Critical {
        /// `default`, or a file of the app.
        name: String,
        /// 0 is silent, 1 the loudest.
        volume: Share,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical<'a> {
    name: Cow<'a, str>,
    #[serde(default = "loudest")]
    volume: Share,
}

fn loudest() -> Share {
    Share::ONE
}

impl Serialize for Sound {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => s.serialize_str("none"),
            Self::Named(name) => s.serialize_str(name),
            Self::Critical { name, volume } => Critical { name: name.as_str().into(), volume: *volume }.serialize(s),
        }
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`default`, `none`, the name of a sound, or {name, volume}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Sound, E> {
        Ok(if text == "none" { Sound::None } else { Sound::Named(text.to_owned()) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sound, A::Error> {
        let Critical { name, volume } = Critical::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Sound::Critical { name: name.into_owned(), volume })
    }
}

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Words)
    }
}

impl utoipa::PartialSchema for Sound {
    fn schema() -> RefOr<Schema> {
        let name = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(NAME_BYTES_MAX));
        let volume = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(1));
        let critical = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("name", name())
            .property("volume", volume)
            .required("name")
            .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::<Schema>::FreeForm(false)));
        OneOfBuilder::new().item(name()).item(critical).into()
    }
}

impl utoipa::ToSchema for Sound {
    fn name() -> Cow<'static, str> {
        "PushSound".into()
    }
}

//! What a line says, and how its refusals are worded: never with what it said.

use crate::clock::Time;
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::{FreeJson, parse};
use crate::people::http::devices::DeviceIn;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest name of a field that an error repeats, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// One user; one JSON object on each line. What is left out stays as it is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportedUser)]
pub struct UserLine {
    /// The name by which the app's back end knows them; unique in the app. Without it they are known by `email`.
    #[schema(min_length = 1, max_length = 200)]
    pub(super) external_id: Option<String>,
    /// Their address.
    #[schema(max_length = 254)]
    pub(super) email: Option<String>,
    /// Whether the system that they come from had them prove it.
    #[serde(default)]
    pub(super) email_verified: bool,
    /// The hash of their password as the other system kept it: bcrypt, Argon2, PBKDF2, scrypt.
    #[schema(value_type = Option<String>, max_length = 512)]
    pub(super) password_hash: Option<Secret>,
    /// Values of declared attributes; `null` removes one.
    #[serde(default)]
    pub(super) attributes: FreeJson,
    /// A language tag such as `de-CH`.
    pub(super) locale: Option<String>,
    /// An IANA time zone such as `Europe/Zurich`.
    pub(super) time_zone: Option<String>,
    /// Whether they may not sign in.
    pub(super) disabled: Option<bool>,
    /// When they came to the other system; only for users who are new here.
    pub(super) created_at: Option<Time>,
}

/// Whose an installation is, and what the route that registers one takes.
pub(super) struct DeviceLine {
    pub(super) user_id: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) installation_id: String,
    pub(super) device: DeviceIn,
}

impl UserLine {
    /// Reads a line.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        quietly(bytes)
    }
}

impl DeviceLine {
    /// Reads a line.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let FreeJson(mut fields) = quietly(bytes)?;
        let mut text = |name: &str| match fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::invalid(name, "invalid", "expected a text")),
        };
        let (user_id, external_id, installation_id) = (text("user_id")?, text("external_id")?, text("installation_id")?);
        let installation_id = installation_id.ok_or_else(|| Error::invalid("installation_id", "required", "is left out"))?;
        let rest = serde_json::to_vec(&fields).map_err(Error::broken)?;
        Ok(Self { user_id, external_id, installation_id, device: quietly(&rest)? })
    }
}

/// Reads JSON; the words of a refusal are ours, because those of the parser repeat what they found.
fn quietly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    parse(bytes).map_err(|error| match error {
        Error::Refused(problem) => {
            let (field, code) = problem.errors.first().map_or(("body", "invalid"), |first| (first.field.as_str(), first.code));
            let message = match code {
                "required" => "is left out",
                "unknown" => "is no field of a line",
                "duplicate" => "comes twice",
                _ if field == "body" => "the line is no JSON object",
                _ => "is not of the kind that this field takes",
            };
            Problem::new(400, "validation_failed", message).field(named(field), code, message).into()
        }
        other => other,
    })
}

/// The name of a field, when it can be no more than that: letters, underscores and dots.
pub(super) fn named(field: &str) -> String {
    let plain = field.len() <= NAME_BYTES_MAX && field.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.'));
    match field.split_once('.') {
        _ if plain => field.to_owned(),
        // The name of an attribute that the app has declared may have digits in it; one that it has not, anything.
        Some((first, _)) if first == "attributes" => first.to_owned(),
        _ => "line".to_owned(),
    }
}

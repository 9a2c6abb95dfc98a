//! API keys: how they look, what of them is stored, what a key may mint.

use super::scope::Scopes;
use crate::clock::Time;
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, Ids, KeyId, PartnerId};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Random bytes in a key: 160 bits.
const RANDOM_BYTES: usize = 20;
/// How many characters of the random part stay visible, so that people can tell keys apart.
const VISIBLE_CHARS: usize = 6;
/// Longest name of a key, in characters.
pub(super) const NAME_MAX: usize = 100;

/// Whose credential a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = KeyKind)]
pub enum KeyKind {
    /// Lives in the app on the phone: not a secret.
    Publishable,
    /// Lives on the app's own servers; scoped.
    Server,
    /// Another business's.
    Partner,
}

/// Whether a key's pushes go to real phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = KeyMode)]
pub enum Mode {
    /// Real.
    Live,
    /// Pushes go to the stand-in or the sandbox only.
    Test,
}

/// What is known of a key; its text is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The tenant.
    pub app_id: AppId,
    /// The key's own id.
    pub id: KeyId,
    /// Whose credential it is.
    pub kind: KeyKind,
    /// Live or test.
    pub mode: Mode,
    /// What people call it.
    pub name: String,
    /// The partner whose key it is.
    pub partner_id: Option<PartnerId>,
    /// What a server key may do.
    pub scopes: Scopes,
    /// The beginning of its text.
    pub prefix: String,
    /// When it was made.
    pub created_ms: i64,
    /// From when on it is refused.
    pub expires_ms: Option<i64>,
    /// When it was last used, to the minute.
    pub last_used_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

/// What to mint.
#[derive(Debug, Clone)]
pub struct Mint {
    /// The tenant.
    pub app_id: AppId,
    /// Whose credential.
    pub kind: KeyKind,
    /// Live or test.
    pub mode: Mode,
    /// What people call it.
    pub name: String,
    /// The partner whose key it is.
    pub partner_id: Option<PartnerId>,
    /// What a server key may do.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_ms: Option<i64>,
}

/// A new key with its text, which is shown once and stored nowhere.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What is stored of it.
    pub key: Key,
    /// The key itself.
    pub secret: Secret,
}

impl KeyKind {
    /// The beginning of a key's text.
    pub fn letters(self) -> &'static str {
        match self {
            Self::Publishable => "pk",
            Self::Server => "sk",
            Self::Partner => "pt",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publishable => "publishable",
            Self::Server => "server",
            Self::Partner => "partner",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self> {
        [Self::Publishable, Self::Server, Self::Partner]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::broken("a stored key has an unknown kind"))
    }
}

impl Mode {
    /// The mode's name in a key's text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        [Self::Live, Self::Test]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| Error::broken("a stored key has an unknown mode"))
    }
}

impl Key {
    /// Whether the key is taken at this time.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }

    /// What to mint for a successor with the same rights.
    pub fn mint(&self) -> Mint {
        Mint {
            app_id: self.app_id,
            kind: self.kind,
            mode: self.mode,
            name: self.name.clone(),
            partner_id: self.partner_id,
            scopes: self.scopes.clone(),
            expires_ms: self.expires_ms,
        }
    }
}

/// Refuses what a caller may not hand on: scopes that it lacks, a later end than its own, live keys from a test key.
///
/// # Errors
/// 403 that names the field.
pub(super) fn may_mint((scopes, expires_ms, mode): (&Scopes, Option<i64>, Mode), wanted: &Mint) -> Result<()> {
    let refuse = |field: &str, message: String| {
        Err(Problem::new(403, "key_exceeds_caller", message.clone()).field(field, "forbidden", message).into())
    };
    if let Some(scope) = wanted.scopes.difference(scopes).next() {
        return refuse("scopes", format!("this key or role lacks {} and cannot give it to another one", scope.name()));
    }
    if let Some(own_ms) = expires_ms
        && wanted.expires_ms.is_none_or(|expires_ms| expires_ms > own_ms)
    {
        return refuse("expires_at", format!("this key ends at {}; a key that it makes cannot end later", Time(own_ms)));
    }
    if mode == Mode::Test && wanted.mode == Mode::Live {
        return refuse("mode", "a test key cannot make live keys".to_owned());
    }
    Ok(())
}

/// The text of a new key and its visible beginning.
pub(super) fn make_text(ids: &Ids, kind: KeyKind, mode: Mode) -> (Secret, String) {
    let head = format!("{}_{}_", kind.letters(), mode.name());
    let random = hex(&ids.bytes::<RANDOM_BYTES>());
    let prefix = format!("{head}{}", &random[..VISIBLE_CHARS]);
    (Secret::new(format!("{head}{random}")), prefix)
}

/// Whether a text could be a key of this kind: cheap, before the database is asked.
pub(super) fn looks_like(kind: KeyKind, text: &str) -> bool {
    let random =
        text.strip_prefix(kind.letters()).and_then(|rest| rest.strip_prefix("_live_").or_else(|| rest.strip_prefix("_test_")));
    random.is_some_and(|r| r.len() == RANDOM_BYTES * 2 && r.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// What is stored of a key's text: its SHA-256 in hex. 160 random bits need no slow hash.
pub(super) fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

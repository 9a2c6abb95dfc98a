//! What a push token looks like, by platform. Pure.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Longest token of APNs, in characters; Apple says only that it may grow.
const APNS_LIMIT: usize = 200;
/// Longest token of FCM, in characters: real ones have about 200, and an index of PostgreSQL holds no more than this.
const FCM_LIMIT: usize = 2048;

/// The operating system of a phone, and so the gateway that reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Reached through APNs.
    Ios,
    /// Reached through FCM.
    Android,
}

impl Platform {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ios => "ios",
            Self::Android => "android",
        }
    }

    /// The platform behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Ios, Self::Android].into_iter().find(|p| p.name() == word)
    }

    /// Checks a token's shape and gives it the one form in which it is kept and compared.
    ///
    /// # Errors
    /// 400 that names `token` and never repeats it.
    pub fn token(self, text: &str) -> Result<String> {
        match self {
            Self::Ios => {
                let hex = text.len() <= APNS_LIMIT && text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
                refuse_unless(
                    hex && !text.is_empty(),
                    "expected the token of APNs in hex: an even number of digits, at most 200",
                )?;
                Ok(text.to_ascii_lowercase())
            }
            Self::Android => {
                let printable = (1..=FCM_LIMIT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
                refuse_unless(printable, "expected the token of FCM: 1 to 2048 printable ASCII characters without blanks")?;
                Ok(text.to_owned())
            }
        }
    }
}

fn refuse_unless(good: bool, message: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::invalid("token", "invalid", message)) }
}

//! What a push token looks like, by platform. Pure.

use super::{sealing_keys, web};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Longest token of APNs, in characters; Apple says only that it may grow.
const APNS_LIMIT: usize = 200;
/// Longest token of FCM, in characters: real ones have about 200, and an index of PostgreSQL holds no more than this.
const FCM_LIMIT: usize = 2048;

/// With this the kept form of a Firebase installation id begins. It is an address as a token is, so all that is law for
/// tokens is law for it; a token of FCM never begins so.
pub const FID_PREFIX: &str = "fid:";
/// Characters of a Firebase installation id.
const FID_LENGTH: usize = 22;

/// What kind of address a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// A device token of APNs.
    Apns,
    /// One of PushKit for calls.
    ApnsVoip,
    /// One of PushKit for complications of a watch.
    ApnsComplication,
    /// One of PushKit for a provider of files.
    ApnsFileprovider,
    /// One for asking where the phone is.
    ApnsLocation,
    /// One for push to talk, good for one stay in a channel.
    ApnsPushtotalk,
    /// One for widgets.
    ApnsWidgets,
    /// One for controls.
    ApnsControls,
    /// A registration token of FCM.
    FcmToken,
    /// A Firebase installation id.
    FcmFid,
}

/// Apple's kinds of push that have tokens of their own, by the words of `apns-push-type`. Such a token is kept behind its word
/// and a colon, and gets pushes of its kind alone; Apple refuses any other.
const OWN: [(TokenKind, &str); 7] = [
    (TokenKind::ApnsVoip, "voip"),
    (TokenKind::ApnsComplication, "complication"),
    (TokenKind::ApnsFileprovider, "fileprovider"),
    (TokenKind::ApnsLocation, "location"),
    (TokenKind::ApnsPushtotalk, "pushtotalk"),
    (TokenKind::ApnsWidgets, "widgets"),
    (TokenKind::ApnsControls, "controls"),
];

/// Apple's word for the kind of push that a kept token is for alone, and the token itself.
pub fn own_kind(token: &str) -> (Option<&'static str>, &str) {
    let own = token.split_once(':').and_then(|(word, rest)| Some((own_word(word)?, rest)));
    own.map_or((None, token), |(word, rest)| (Some(word), rest))
}

/// This word of `apns-push-type`, when pushes of its kind go to tokens of their own.
pub fn own_word(push_type: &str) -> Option<&'static str> {
    OWN.iter().map(|(_, word)| *word).find(|word| *word == push_type)
}

/// As what a token may be kept that its sender writes so, the text itself first.
pub(super) fn forms(text: &str) -> impl Iterator<Item = String> {
    // Those of APNs are kept in small letters.
    let small = text.to_ascii_lowercase();
    let own = OWN.map(|(_, word)| format!("{word}:{small}"));
    [text.to_owned(), format!("{FID_PREFIX}{text}"), small].into_iter().chain(own)
}

impl TokenKind {
    /// The kind of a token as it is kept; nothing where there is one kind only that has no name here.
    pub fn of(platform: Platform, token: &str) -> Option<Self> {
        match platform {
            Platform::Ios => {
                let (word, _) = own_kind(token);
                Some(OWN.iter().find(|(_, own)| word == Some(*own)).map_or(Self::Apns, |(kind, _)| *kind))
            }
            Platform::Android if token.starts_with(FID_PREFIX) => Some(Self::FcmFid),
            Platform::Android => Some(Self::FcmToken),
            Platform::Web => None,
        }
    }

    /// A token of this kind as it is to be checked and kept.
    ///
    /// # Errors
    /// 400 that names `token_kind` when the platform has none of this kind.
    pub fn kept(self, platform: Platform, token: &str) -> Result<String> {
        let own = OWN.iter().find(|(kind, _)| *kind == self);
        let kept = match (self, own) {
            (Self::FcmFid, _) => format!("{FID_PREFIX}{token}"),
            (_, Some((_, word))) => format!("{word}:{token}"),
            (_, None) => token.to_owned(),
        };
        if Self::of(platform, &kept) == Some(self) {
            return Ok(kept);
        }
        Err(Error::invalid(
            "token_kind",
            "invalid",
            "expected apns, or apns_ and a kind of push that has tokens of its own, with the platform ios, fcm_token or fcm_fid with android",
        ))
    }
}

/// What an installation runs on, and so the gateway that reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Reached through APNs.
    Ios,
    /// Reached through FCM.
    Android,
    /// A browser, reached through its own push service.
    Web,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ios, Self::Android, Self::Web];

    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ios => "ios",
            Self::Android => "android",
            Self::Web => "web",
        }
    }

    /// The platform behind the word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == word)
    }

    /// Checks a token's shape and gives it the one form in which it is kept and compared.
    ///
    /// # Errors
    /// 400 that names `token` and never repeats it.
    pub fn token(self, text: &str) -> Result<String> {
        // What stands behind the address was checked when it was put there.
        if self != Self::Web
            && sealing_keys(text).is_some()
            && let Some((address, keys)) = text.split_once(' ')
        {
            return Ok(format!("{} {keys}", self.token(address)?));
        }
        match self {
            Self::Ios => {
                let (_, token) = own_kind(text);
                let hex =
                    token.len() <= APNS_LIMIT && token.len().is_multiple_of(2) && token.bytes().all(|b| b.is_ascii_hexdigit());
                refuse_unless(
                    hex && !token.is_empty(),
                    "expected the token of APNs in hex: an even number of digits, at most 200",
                )?;
                Ok(text.to_ascii_lowercase())
            }
            Self::Android => {
                if let Some(fid) = text.strip_prefix(FID_PREFIX) {
                    let good =
                        fid.len() == FID_LENGTH && fid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
                    refuse_unless(good, "expected a Firebase installation id: 22 letters, digits, hyphens and underscores")?;
                }
                let printable = (1..=FCM_LIMIT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
                refuse_unless(printable, "expected the token of FCM: 1 to 2048 printable ASCII characters without blanks")?;
                Ok(text.to_owned())
            }
            Self::Web => {
                refuse_unless(web::Address::parse(text).is_some(), "a browser has a subscription in the place of a token")?;
                Ok(text.to_owned())
            }
        }
    }
}

fn refuse_unless(good: bool, message: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::invalid("token", "invalid", message)) }
}

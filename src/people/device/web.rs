//! A browser's push subscription: read strictly, kept as one text, and taken apart again. Pure.
//!
//! To everybody else the text is the device's token: endpoint, public key, secret, the VAPID key that it was made with,
//! and its end, parted by blanks. Only the store keeps the endpoint apart, because that is what must be unique.

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::outbound::url::WebUrl;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde::Deserialize;

/// Longest endpoint, in characters: an index of PostgreSQL holds no more than this.
const ENDPOINT_LIMIT: usize = 2_048;
/// Longest text of a key, in characters: 65 bytes with padding.
const KEY_LIMIT: usize = 92;
/// Bytes of an uncompressed point of the curve P-256.
pub const POINT_BYTES: usize = 65;
/// Bytes of a subscription's secret.
pub const AUTH_BYTES: usize = 16;
/// The push services of browsers whose address is one name.
const SERVICES: [&str; 3] = ["fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com"];
/// The push service that has many names, all below this one.
const WINDOWS: &str = ".notify.windows.com";
/// The usual alphabet of base64, for pages that encode keys by hand.
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);
const FORGIVING: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// A browser's `PushSubscription`, as its `toJSON()` gives it.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PushSubscription)]
pub struct Subscription {
    /// Where pushes go: a URL of the browser's push service. Whoever knows it can send, so it is never shown.
    #[schema(value_type = String, max_length = 2048)]
    endpoint: Secret,
    /// What pushes are encrypted with.
    keys: SubscriptionKeys,
    /// When it ends by itself, UTC milliseconds.
    #[serde(default, alias = "expirationTime")]
    expiration_time: Option<i64>,
    /// The key that the page has subscribed with; left out: the one in force when the subscription was first seen.
    #[serde(default, alias = "applicationServerKey")]
    #[schema(max_length = 92)]
    application_server_key: Option<String>,
}

/// The keys of a `PushSubscription`, in base64url; an installation of an app makes the same for encrypted words.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionKeys {
    /// A public key: a point of the curve P-256, 65 bytes.
    #[schema(value_type = String, max_length = 92)]
    p256dh: Secret,
    /// A secret, 16 bytes.
    #[schema(value_type = String, max_length = 92)]
    auth: Secret,
}

/// The hosts to which subscriptions may lead: the browsers' push services, and those that the operator names.
#[derive(Debug, Clone, Default)]
pub struct Services(Vec<String>);

impl Services {
    /// Reads the setting `webpush_hosts`: hosts, perhaps with a port, comma separated.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong =
            || Error::broken("KAIROS_WEBPUSH_HOSTS: expected hosts such as push.example.com or 127.0.0.1:9443, comma separated");
        let one = |part: &str| {
            let url = WebUrl::parse(&format!("https://{part}/")).map_err(|_| wrong())?;
            if url.path.as_str() == "/" { Ok(url.authority()) } else { Err(wrong()) }
        };
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(one).collect::<Result<_>>().map(Self)
    }

    /// Whether pushes may go to this host, or host and port.
    pub fn allow(&self, authority: &str) -> bool {
        let below = |host: &str| host.strip_suffix(WINDOWS).is_some_and(|label| !label.is_empty());
        SERVICES.contains(&authority) || below(authority) && !authority.contains(':') || self.0.iter().any(|own| own == authority)
    }
}

impl Subscription {
    /// Checks it and gives it the one form in which it is kept and compared.
    ///
    /// # Errors
    /// 400 that names the field and never repeats it.
    pub fn token(&self, services: &Services, now_ms: i64) -> Result<String> {
        let endpoint = self.endpoint.expose();
        endpoint_of(endpoint, services)?;
        let (p256dh, auth) = self.keys.text("subscription.keys")?;
        if self.expiration_time.is_some_and(|at_ms| at_ms <= now_ms) {
            return Err(refused("subscription.expiration_time", "this subscription has ended; let the page subscribe again"));
        }
        let made = match &self.application_server_key {
            Some(key) => format!("k{}", key_id(&point("subscription.application_server_key", key)?)),
            None => format!("t{now_ms}"),
        };
        let expires = self.expiration_time.map_or_else(|| "-".to_owned(), |at_ms| at_ms.to_string());
        Ok(format!("{endpoint} {p256dh} {auth} {made} {expires}"))
    }
}

fn endpoint_of(endpoint: &str, services: &Services) -> Result<()> {
    let wrong = |why: &str| refused("subscription.endpoint", why);
    if endpoint.len() > ENDPOINT_LIMIT {
        return Err(wrong("may have at most 2048 characters"));
    }
    let url = WebUrl::parse(endpoint).map_err(wrong)?;
    let authority = url.authority();
    // Spelt in any other way it is not what a browser has said, and could mean another host to somebody else.
    if !url.secure || endpoint != format!("https://{authority}{}", url.path) || url.path.as_str() == "/" {
        return Err(wrong("expected the browser's own https:// URL, as it is"));
    }
    if !services.allow(&authority) {
        return Err(wrong("this host is no push service of a browser; operators name others in KAIROS_WEBPUSH_HOSTS"));
    }
    Ok(())
}

impl SubscriptionKeys {
    /// The keys in the one form in which they are kept and compared; `at` is the name of their field.
    ///
    /// # Errors
    /// 400 that names the field and never repeats it.
    pub(super) fn text(&self, at: &str) -> Result<(String, String)> {
        let p256dh = point(&format!("{at}.p256dh"), self.p256dh.expose())?;
        let auth = bytes(self.auth.expose()).filter(|bytes| bytes.len() == AUTH_BYTES);
        let auth = auth.ok_or_else(|| refused(&format!("{at}.auth"), "expected a secret of 16 bytes in base64url"))?;
        Ok((URL_SAFE_NO_PAD.encode(p256dh), URL_SAFE_NO_PAD.encode(auth)))
    }
}

fn refused(field: &str, why: &str) -> Error {
    Error::invalid(field, "invalid", why)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
    if text.len() <= KEY_LIMIT { engine.decode(text).ok() } else { None }
}

fn point(field: &str, text: &str) -> Result<Vec<u8>> {
    let good = |bytes: &Vec<u8>| bytes.len() == POINT_BYTES && p256::PublicKey::from_sec1_bytes(bytes).is_ok();
    bytes(text)
        .filter(good)
        .ok_or_else(|| refused(field, "expected a public key: a point of the curve P-256, 65 bytes in base64url"))
}

/// By which a VAPID key is known: a hash of its public point.
pub fn key_id(point: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, point);
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}

/// Which VAPID key a subscription was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeWith<'a> {
    /// The one with this id.
    Key(&'a str),
    /// The one that was in force then, UTC milliseconds.
    Since(i64),
}

/// The text of a subscription, taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// Where pushes go.
    pub endpoint: &'a str,
    /// The browser's public key.
    pub p256dh: [u8; POINT_BYTES],
    /// Its secret.
    pub auth: [u8; AUTH_BYTES],
    /// Which VAPID key it was made with.
    pub made: MadeWith<'a>,
    /// When it ends by itself, UTC milliseconds.
    pub expires_ms: Option<i64>,
}

impl<'a> Address<'a> {
    /// Takes a token apart; `None` when it is none of a browser.
    pub fn parse(token: &'a str) -> Option<Self> {
        let mut parts = token.split(' ');
        let mut next = || parts.next();
        let (endpoint, p256dh, auth, made, expires) = (next()?, next()?, next()?, next()?, next()?);
        if next().is_some() {
            return None;
        }
        let (p256dh, auth) = read_keys(p256dh, auth)?;
        let made = match made.strip_prefix('k') {
            Some(id) => MadeWith::Key(id),
            None => MadeWith::Since(made.strip_prefix('t')?.parse().ok()?),
        };
        let expires_ms = if expires == "-" { None } else { Some(expires.parse().ok()?) };
        Some(Self { endpoint, p256dh, auth, made, expires_ms })
    }
}

/// Whether it is one of the browsers' own push services whose address is one name.
pub fn is_well_known(authority: &str) -> bool {
    SERVICES.contains(&authority)
}

/// A public key and a secret as they are kept.
pub(super) fn read_keys(p256dh: &str, auth: &str) -> Option<([u8; POINT_BYTES], [u8; AUTH_BYTES])> {
    let (mut point, mut secret) = ([0; POINT_BYTES], [0; AUTH_BYTES]);
    let read = (URL_SAFE_NO_PAD.decode_slice(p256dh, &mut point).ok()?, URL_SAFE_NO_PAD.decode_slice(auth, &mut secret).ok()?);
    (read == (POINT_BYTES, AUTH_BYTES)).then_some((point, secret))
}

/// The host, and the port unless it is 443, to which a token of a browser leads.
pub fn authority(token: &str) -> Option<&str> {
    let rest = token.strip_prefix("https://")?;
    rest.get(..rest.find('/')?).filter(|authority| !authority.is_empty())
}

/// A token of a browser for eyes other than its user's: where it leads, and which it is, but not how to send to it.
pub fn shown(token: &str) -> String {
    format!("{}#{}", authority(token).unwrap_or_default(), key_id(super::address(token).as_bytes()))
}

/// The token with the word on its VAPID key that it was first seen with, when it is the same subscription and says
/// nothing of it now.
pub fn kept(token: &str, before: &str) -> Option<String> {
    let (now, old) = (Address::parse(token)?, Address::parse(before)?);
    let same = (now.endpoint, now.p256dh, now.auth) == (old.endpoint, old.p256dh, old.auth);
    if !same || !matches!(now.made, MadeWith::Since(_)) {
        return None;
    }
    let mut words: Vec<&str> = token.split(' ').collect();
    *words.get_mut(3)? = before.split(' ').nth(3)?;
    Some(words.join(" "))
}

//! The apps' own credentials for the gateways: stored sealed, checked on write, never shown again.
//!
//! Apple: as many keys per world as an app likes, each for topics of its own, so that keys that Apple has bound to topics
//! can be used. Storing a key takes its topics from the keys that had them, and a key without topics goes: so storing a
//! new key for the same topics replaces the old one. Google: one service account.

use super::message::Gateway;
use super::{apns, fcm, store, webpush};
use crate::error::{Error, Problem, Result};
use crate::http::FreeJson;
use crate::id::AppId;
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::store::Conn;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most topics of one key: Apple's own limit.
const TOPICS_MAX: usize = 400;
/// Most keys of an app in one world.
const KEYS_MAX: usize = 50;

/// A credential that is ready for use.
#[expect(clippy::large_enum_variant, reason = "few at a time, each on its way into a lane")]
pub(super) enum Credential {
    Apns { key: apns::ProviderKey, topics: Vec<String> },
    Fcm(fcm::ServiceAccount),
    WebPush(webpush::vapid::Keys),
}

/// What may be shown of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Public {
    /// In which of the gateway's worlds it is good.
    pub environment: Environment,
    /// Apple: the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// Apple: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Apple: bundle ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<String>>,
    /// Google: the Firebase project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Google: the service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_email: Option<String>,
    /// Browsers: whom a push service may write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Browsers: the key with which pages subscribe, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Browsers: keys of before, which sign for subscriptions that were made with them, the newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_public_keys: Option<Vec<String>>,
}

impl Public {
    /// Nothing to show yet.
    fn of(environment: Environment) -> Self {
        Self {
            environment,
            team_id: None,
            key_id: None,
            topics: None,
            project_id: None,
            client_email: None,
            subject: None,
            public_key: None,
            earlier_public_keys: None,
        }
    }
}

/// A stored credential without its secret, and what its gateway thinks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The key's id as it is stored; empty where a gateway has one credential.
    pub key_id: String,
    /// What may be shown.
    pub public: Public,
    /// Goes up with each change.
    pub revision: i64,
    /// When it was stored last, UTC milliseconds.
    pub updated_ms: i64,
    /// When the gateway last took it, UTC milliseconds.
    pub proven_ms: Option<i64>,
    /// Since when the gateway refuses it, UTC milliseconds.
    pub refused_ms: Option<i64>,
    /// The gateway's word for that.
    pub refused_reason: Option<String>,
}

/// A credential to store.
pub struct NewCredential {
    /// For which gateway.
    pub gateway: Gateway,
    /// What may be shown.
    pub public: Public,
    secret: Vec<u8>,
}

impl NewCredential {
    /// An APNs key; `ids` are the team's and the key's.
    ///
    /// # Errors
    /// 400 that names the field at fault.
    pub fn apns(environment: Environment, ids: (String, String), key_p8: &str, topics: Vec<String>) -> Result<Self> {
        let (team_id, key_id) = ids;
        apns::ProviderKey::parse(&team_id, &key_id, key_p8).map_err(|(field, why)| Error::invalid(field, "invalid", why))?;
        if topics.is_empty() || topics.len() > TOPICS_MAX {
            return Err(Error::invalid("topics", "out_of_range", format!("expected 1 to {TOPICS_MAX} bundle ids")));
        }
        for (n, topic) in topics.iter().enumerate() {
            let good = topic.len() <= 255 && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            if topic.is_empty() || !good {
                return Err(Error::invalid("topics", "invalid", "expected bundle ids such as com.example.app"));
            }
            if topics.iter().take(n).any(|other| other == topic) {
                return Err(Error::invalid("topics", "duplicate", format!("{topic} is named twice")));
            }
        }
        let public = Public { team_id: Some(team_id), key_id: Some(key_id), topics: Some(topics), ..Public::of(environment) };
        Ok(Self { gateway: Gateway::Apns, public, secret: key_p8.as_bytes().to_vec() })
    }

    /// A service account of Google's.
    ///
    /// # Errors
    /// 400 that names the field at fault.
    pub fn fcm(service_account: FreeJson) -> Result<Self> {
        let json = Value::Object(service_account.0);
        let account = fcm::ServiceAccount::parse(&json).map_err(|(field, why)| Error::invalid(field, "invalid", why))?;
        let public = Public {
            project_id: Some(account.project_id),
            client_email: Some(account.client_email),
            ..Public::of(Environment::Production)
        };
        Ok(Self { gateway: Gateway::Fcm, public, secret: json.to_string().into_bytes() })
    }

    /// What tells it from others of the same gateway and world.
    pub(super) fn key_id(&self) -> &str {
        self.public.key_id.as_deref().unwrap_or_default()
    }

    /// An app's VAPID keys.
    pub(super) fn webpush(keys: &webpush::vapid::Keys) -> Result<Self> {
        let mut pairs = keys.pairs().map_err(Error::broken)?.into_iter().map(|pair| pair.public_key);
        let public = Public {
            subject: Some(keys.subject.clone()),
            public_key: pairs.next(),
            earlier_public_keys: Some(pairs.collect::<Vec<_>>()).filter(|earlier| !earlier.is_empty()),
            ..Public::of(Environment::Production)
        };
        let secret = serde_json::to_vec(keys).map_err(Error::broken)?;
        Ok(Self { gateway: Gateway::WebPush, public, secret })
    }
}

/// A stored credential, still sealed.
pub(super) struct Sealed {
    pub(super) gateway: Gateway,
    pub(super) key_id: String,
    pub(super) public: Public,
    pub(super) sealed: Vec<u8>,
    pub(super) revision: i64,
}

impl Sealed {
    pub(super) fn open(&self, platform: &Platform, app: AppId) -> Result<Credential> {
        let context = context(app, self.gateway, (self.public.environment, &self.key_id));
        let secret = platform.master_key.open(&context, &self.sealed)?;
        let broken = || Error::broken("a stored gateway credential cannot be read");
        match self.gateway {
            Gateway::Apns => {
                let text = String::from_utf8(secret).map_err(|_| broken())?;
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                let (team_id, key_id) = (part(&self.public.team_id), part(&self.public.key_id));
                let key = apns::ProviderKey::parse(&team_id, &key_id, &text).map_err(|_| broken())?;
                Ok(Credential::Apns { key, topics: self.public.topics.clone().unwrap_or_default() })
            }
            Gateway::Fcm => {
                let json = serde_json::from_slice(&secret).map_err(|_| broken())?;
                fcm::ServiceAccount::parse(&json).map(Credential::Fcm).map_err(|_| broken())
            }
            Gateway::WebPush => serde_json::from_slice(&secret).map(Credential::WebPush).map_err(|_| broken()),
        }
    }
}

/// Ties the sealed bytes to their row, so that rows cannot be swapped.
fn context(app: AppId, gateway: Gateway, (environment, key_id): (Environment, &str)) -> String {
    let row = format!("push_credentials/{app}/{}/{}", gateway.word(), environment.name());
    if key_id.is_empty() { row } else { format!("{row}/{key_id}") }
}

/// The topic of the cache on which stored credentials are told to have changed; the payload is the app. Put and delete
/// them by `Platform::write_and_tell`.
pub const CHANGED: &str = "push_credentials";

/// Stores a credential, in place of the one that was there.
///
/// # Errors
/// 409 `too_many_keys`; what the database says.
pub fn put(conn: &mut Conn, platform: &Platform, app: AppId, new: &NewCredential) -> Result<()> {
    let context = context(app, new.gateway, (new.public.environment, new.key_id()));
    let sealed = platform.master_key.seal(&platform.ids, &context, &new.secret)?;
    conn.serialise(&format!("push_credentials:{app}"))?;
    take_topics(conn, app, new)?;
    store::put_credential(conn, app, new, (sealed, platform.clock.now_ms()))
}

/// A topic has one key per world: the newest that names it.
fn take_topics(conn: &mut Conn, app: AppId, new: &NewCredential) -> Result<()> {
    let Some(taken) = &new.public.topics else { return Ok(()) };
    let mut keys = 0;
    for mut known in store::credentials(conn, app, new.gateway)? {
        if known.public.environment != new.public.environment || known.key_id == new.key_id() {
            continue;
        }
        let topics = known.public.topics.get_or_insert_default();
        let before = topics.len();
        topics.retain(|topic| !taken.contains(topic));
        // A row of before, which is sealed without the key's id, gives way to the same key.
        if topics.is_empty() || known.public.key_id == new.public.key_id {
            store::delete_credential(conn, app, (new.gateway, &known))?;
            continue;
        }
        if topics.len() < before {
            store::keep_topics(conn, app, (new.gateway, &known))?;
        }
        keys += 1;
    }
    if keys >= KEYS_MAX {
        let detail = format!("An app may have at most {KEYS_MAX} APNs keys per environment; delete one that is no longer used.");
        return Err(Problem::new(409, "too_many_keys", detail).into());
    }
    Ok(())
}

/// Which credentials of a gateway; what is left out is any.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Of which world.
    pub environment: Option<Environment>,
    /// Apple: which key.
    pub key_id: Option<String>,
}

impl Which {
    /// Whether it is one of them.
    pub fn holds(&self, public: &Public) -> bool {
        self.environment.is_none_or(|environment| environment == public.environment)
            && self.key_id.as_ref().is_none_or(|key_id| Some(key_id) == public.key_id.as_ref())
    }
}

/// What is stored for a gateway, by environment and key.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<Vec<Known>> {
    store::credentials(conn, app, gateway)
}

/// Forgets credentials for a gateway; answers whether there were any.
///
/// # Errors
/// What the database says.
pub fn delete(conn: &mut Conn, app: AppId, (gateway, which): (Gateway, &Which)) -> Result<bool> {
    conn.serialise(&format!("push_credentials:{app}"))?;
    let mut any = false;
    for known in store::credentials(conn, app, gateway)?.iter().filter(|known| which.holds(&known.public)) {
        store::delete_credential(conn, app, (gateway, known))?;
        any = true;
    }
    Ok(any)
}

pub(super) fn sealed(conn: &mut Conn, app: AppId, of: (Gateway, Environment)) -> Result<Vec<Sealed>> {
    store::sealed(conn, app, of)
}

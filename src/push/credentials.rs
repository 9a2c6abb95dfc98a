//! The apps' own credentials for the gateways: stored sealed, checked on write, never shown again.

use super::message::Gateway;
use super::route::Route;
use super::{apns, fcm, store};
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::AppId;
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::store::Conn;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A credential that is ready for use.
pub(super) enum Credential {
    Apns { key: apns::ProviderKey, topics: Vec<String> },
    Fcm(fcm::ServiceAccount),
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
        if topics.is_empty() || topics.len() > 100 {
            return Err(Error::invalid("topics", "out_of_range", "expected 1 to 100 bundle ids"));
        }
        for topic in &topics {
            let good = topic.len() <= 255 && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            if topic.is_empty() || !good {
                return Err(Error::invalid("topics", "invalid", "expected bundle ids such as com.example.app"));
            }
        }
        let public = Public {
            environment,
            team_id: Some(team_id),
            key_id: Some(key_id),
            topics: Some(topics),
            project_id: None,
            client_email: None,
        };
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
            environment: Environment::Production,
            team_id: None,
            key_id: None,
            topics: None,
            project_id: Some(account.project_id),
            client_email: Some(account.client_email),
        };
        Ok(Self { gateway: Gateway::Fcm, public, secret: json.to_string().into_bytes() })
    }
}

/// A stored credential, still sealed.
pub(super) struct Sealed {
    pub(super) public: Public,
    pub(super) sealed: Vec<u8>,
}

impl Sealed {
    pub(super) fn open(self, platform: &Platform, app: AppId, route: Route) -> Result<Credential> {
        let secret = platform.master_key.open(&context(app, route.gateway, route.environment), &self.sealed)?;
        let broken = || Error::broken("a stored gateway credential cannot be read");
        match route.gateway {
            Gateway::Apns => {
                let text = String::from_utf8(secret).map_err(|_| broken())?;
                let (team_id, key_id) = (self.public.team_id.unwrap_or_default(), self.public.key_id.unwrap_or_default());
                let key = apns::ProviderKey::parse(&team_id, &key_id, &text).map_err(|_| broken())?;
                Ok(Credential::Apns { key, topics: self.public.topics.unwrap_or_default() })
            }
            Gateway::Fcm => {
                let json = serde_json::from_slice(&secret).map_err(|_| broken())?;
                fcm::ServiceAccount::parse(&json).map(Credential::Fcm).map_err(|_| broken())
            }
        }
    }
}

/// Ties the sealed bytes to their row, so that rows cannot be swapped.
fn context(app: AppId, gateway: Gateway, environment: Environment) -> String {
    format!("push_credentials/{app}/{}/{}", gateway.word(), environment.name())
}

/// The topic of the cache on which stored credentials are told to have changed; the payload is the app. Put and delete
/// them by `Platform::write_and_tell`.
pub const CHANGED: &str = "push_credentials";

/// Stores a credential, in place of the one that was there.
///
/// # Errors
/// What the database says.
pub fn put(conn: &mut Conn, platform: &Platform, app: AppId, new: &NewCredential) -> Result<()> {
    let context = context(app, new.gateway, new.public.environment);
    let sealed = platform.master_key.seal(&platform.ids, &context, &new.secret)?;
    store::put_credential(conn, app, new, (sealed, platform.clock.now_ms()))
}

/// What is stored for a gateway, one entry per environment.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<Vec<(Public, i64)>> {
    store::credentials(conn, app, gateway)
}

/// Forgets the credentials for a gateway; answers whether there were any.
///
/// # Errors
/// What the database says.
pub fn delete(conn: &mut Conn, app: AppId, gateway: Gateway) -> Result<bool> {
    store::delete_credentials(conn, app, gateway)
}

pub(super) fn sealed(conn: &mut Conn, app: AppId, route: Route) -> Result<Option<Sealed>> {
    store::sealed(conn, app, route)
}

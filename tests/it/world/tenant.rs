//! People who sign in to an app of a test, and keys that may do little.

use super::{Caller, Tenant, World};
use serde_json::json;

/// A signed-in user.
#[derive(Debug, Clone)]
pub struct Person {
    /// `usr_…`
    pub id: String,
    /// The access token.
    pub token: Caller,
    /// The refresh token.
    pub refresh_token: String,
}

impl World {
    /// Makes an anonymous user of an app.
    pub async fn person(&self, tenant: &Tenant) -> Person {
        Person::from(&self.post("/v1/auth/anonymous", &tenant.phone, json!({})).await.expect(200))
    }

    /// Gives a user an identity at Google; its id.
    pub async fn identity(&self, tenant: &Tenant, user_id: &str) -> String {
        let id = user_id.replace("usr_", "idn_");
        let row = format!(
            "insert into identities values ('{}', '{id}', '{user_id}', 'google', 'https://accounts.google.com', '{user_id}', \
             'x', 'canary@gmail.com', false, true, 0, null, 0, 0, null)",
            tenant.id
        );
        self.kairos.platform.store.write(move |conn| conn.batch(&row)).await.unwrap();
        id
    }

    /// Makes a server key with these scopes only.
    pub async fn server_key(&self, tenant: &Tenant, scopes: &[&str]) -> Caller {
        let body = json!({ "kind": "server", "name": "limited", "scopes": scopes });
        let made = self.post("/v1/keys", &tenant.server, body).await.expect(201);
        Caller::Bearer(made["secret"].as_str().unwrap().to_owned())
    }
}

impl From<&serde_json::Value> for Person {
    /// Reads the answer of sign-up, sign-in, refresh or anonymous.
    fn from(session: &serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&session["user"]["id"]),
            token: Caller::Bearer(text(&session["access_token"])),
            refresh_token: text(&session["refresh_token"]),
        }
    }
}

//! People who sign in to an app of a test, operators who run it, and keys that may do little.

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

/// The password of every operator of a test.
pub const OPERATOR_PASSWORD: &str = "correct horse battery staple";

/// The code that an authenticator app shows (RFC 4226 and 6238), worked out here and not by the server's own code.
pub fn totp_code(secret: &[u8], at_s: i64) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let digest = ring::hmac::sign(&key, &(at_s / 30).to_be_bytes());
    let digest = digest.as_ref();
    let offset = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes(digest[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The bytes behind base32 without padding (RFC 4648).
pub fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut held, mut out) = (0_u32, 0_u32, Vec::new());
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => panic!("not base32: {text}"),
        };
        (bits, held) = (bits << 5 | u32::from(value), held + 5);
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}

/// A signed-in operator.
#[derive(Debug, Clone)]
pub struct Staff {
    /// `opr_…`
    pub id: String,
    /// Their address.
    pub email: String,
    /// The secret of their second factor.
    pub secret: Vec<u8>,
    /// Codes to recover with.
    pub recovery_codes: Vec<String>,
    /// Their session.
    pub caller: Caller,
}

impl World {
    /// Invites an operator to an app; they accept, enrol a second factor, and are signed in.
    pub async fn operator(&self, tenant: &Tenant, role: &str) -> Staff {
        let email = format!("{role}-{}@operators.example", self.number("select count(*) from operators").await);
        let body = json!({"email": email, "name": "Grace", "role": role});
        let invited = self.post("/v1/operators", &tenant.server, body).await.expect(201);
        let accept = json!({"token": invited["invitation"], "password": OPERATOR_PASSWORD});
        self.post("/v1/operators/accept", &Caller::Nobody, accept).await.expect(204);
        self.enrol(tenant, &email).await
    }

    /// The first sign-in of an operator who has a password: they enrol a second factor.
    pub async fn enrol(&self, tenant: &Tenant, email: &str) -> Staff {
        let pair = json!({"email": email, "password": OPERATOR_PASSWORD});
        let offered = self.post("/v1/operators/sign-in", &Caller::Nobody, pair).await.expect(200);
        let secret = base32(offered["enrolment"]["secret"].as_str().unwrap());
        let code = totp_code(&secret, self.now_ms() / 1_000);
        let confirm = json!({"token": offered["enrolment"]["token"], "code": code});
        let session = self.post("/v1/operators/enrol", &Caller::Nobody, confirm).await.expect(200);
        let codes = session["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
        Staff {
            id: session["operator"]["id"].as_str().unwrap().to_owned(),
            email: email.to_owned(),
            secret,
            recovery_codes: codes.collect(),
            caller: Caller::Operator { token: session["token"].as_str().unwrap().to_owned(), app: tenant.id.to_string() },
        }
    }
}

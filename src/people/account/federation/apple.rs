//! What is said to Apple beside reading its keys: a code is traded for a refresh token, and that is taken back in the end.
//!
//! Whoever deletes their account has to be forgotten at Apple too, and only a refresh token can say so. It comes from
//! the authorization code of a sign-in, which is good once and for minutes.

use super::fetch;
use super::provider::{APPLE, Provider, apple_base};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::platform::Platform;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::StatusCode;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};

/// How long a client secret is good, in seconds; Apple takes them for half a year, one request needs no more than this.
const SECRET_LIFE_S: i64 = 300;
/// Longest refresh token that is kept, in bytes.
const REFRESH_BYTES_MAX: usize = 2_048;

/// A team's key for Sign in with Apple.
pub(super) struct AppleKey {
    team_id: String,
    key_id: String,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl AppleKey {
    /// Reads a `.p8` file (PKCS#8, EC P-256, PEM).
    ///
    /// # Errors
    /// The field at fault and what is wrong with it.
    pub(super) fn parse(team_id: &str, key_id: &str, pem: &str) -> Result<Self, (&'static str, &'static str)> {
        for (field, id) in [("team_id", team_id), ("key_id", key_id)] {
            if id.len() != 10 || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err((field, "expected the 10 letters and digits that Apple shows"));
            }
        }
        const WRONG: (&str, &str) = ("key_p8", "expected the .p8 file's text: a PKCS#8 private key on the curve P-256");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| WRONG)?;
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random).map_err(|_| WRONG)?;
        Ok(Self { team_id: team_id.to_owned(), key_id: key_id.to_owned(), pair, random })
    }

    /// What proves to Apple that a request is this client's: a token of our own making.
    fn client_secret(&self, client_id: &str, now_s: i64) -> Result<Secret> {
        let header = json!({ "alg": "ES256", "kid": self.key_id });
        let claims = json!({
            "iss": self.team_id, "iat": now_s, "exp": now_s + SECRET_LIFE_S, "aud": APPLE, "sub": client_id,
        });
        let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).map_err(Error::broken)?;
        Ok(Secret::new(format!("{signed}.{}", BASE64URL.encode(signature.as_ref()))))
    }
}

#[derive(Deserialize)]
struct Granted {
    refresh_token: Secret,
    id_token: Secret,
}

/// Trades an authorization code for a refresh token of this subject; none when Apple gives none. A sign-in does not
/// fail by it: its ID token was good.
pub(super) async fn trade(platform: &Platform, provider: &Provider, who: (&str, &str), code: &str) -> Result<Option<Secret>> {
    let (client_id, subject) = who;
    let Some(key) = provider.apple_key(platform)? else { return Ok(None) };
    let secret = key.client_secret(client_id, platform.clock.now_ms().div_euclid(1_000))?;
    let form =
        [("client_id", client_id), ("client_secret", secret.expose()), ("grant_type", "authorization_code"), ("code", code)];
    let url = format!("{}/auth/token", apple_base(&platform.config));
    let granted = match fetch::post(platform, &url, &form).await {
        Ok(answer) if answer.status == StatusCode::OK => serde_json::from_slice::<Granted>(&answer.body).ok(),
        Ok(answer) => {
            tracing::warn!(status = answer.status.as_u16(), "Apple gave nothing for an authorization code");
            None
        }
        Err(why) => {
            tracing::warn!(why, "Apple could not be asked to trade an authorization code");
            None
        }
    };
    // The code may be somebody else's; the answer comes from Apple itself, so that its ID token is only read.
    let is_theirs = |granted: &Granted| subject_of(granted.id_token.expose()).as_deref() == Some(subject);
    let granted = granted.filter(is_theirs).filter(|granted| granted.refresh_token.expose().len() <= REFRESH_BYTES_MAX);
    Ok(granted.map(|granted| granted.refresh_token))
}

fn subject_of(id_token: &str) -> Option<String> {
    let claims = BASE64URL.decode(id_token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

/// Takes a refresh token back; whether Apple has said yes. It says so for tokens too that it does not know.
pub(super) async fn take_back(platform: &Platform, provider: &Provider, client_id: &str, token: &Secret) -> Result<bool> {
    let Some(key) = provider.apple_key(platform)? else { return Ok(false) };
    let secret = key.client_secret(client_id, platform.clock.now_ms().div_euclid(1_000))?;
    let form = [
        ("client_id", client_id),
        ("client_secret", secret.expose()),
        ("token", token.expose()),
        ("token_type_hint", "refresh_token"),
    ];
    let url = format!("{}/auth/revoke", apple_base(&platform.config));
    match fetch::post(platform, &url, &form).await {
        Ok(answer) if answer.status == StatusCode::OK => return Ok(true),
        Ok(answer) => tracing::warn!(status = answer.status.as_u16(), "Apple did not take a token back"),
        Err(why) => tracing::warn!(why, "Apple could not be asked to take a token back"),
    }
    Ok(false)
}

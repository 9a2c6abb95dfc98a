//! Access tokens: JWTs after RFC 9068, signed with Ed25519. The signing key is made on first start and stored sealed.

use super::store;
use crate::error::{Error, Result};
use crate::id::{AppId, SessionId, UserId};
use crate::platform::Platform;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 2_048;
/// How far ahead another node's clock may be, in seconds.
const SKEW_S: i64 = 60;
/// The keys are read again at most this often when a token names an unknown one, in milliseconds.
const RELOAD_MS: i64 = 10_000;

/// What a token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: AppId,
    pub(super) sub: UserId,
    pub(super) sid: SessionId,
    pub(super) client_id: AppId,
    pub(super) mode: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// Signs and checks access tokens.
pub(super) struct Signer {
    platform: Platform,
    kid: String,
    header: String,
    pair: Ed25519KeyPair,
    publics: RwLock<Publics>,
}

#[derive(Default)]
struct Publics {
    by_kid: HashMap<String, Vec<u8>>,
    read_ms: i64,
}

impl Signer {
    /// Opens the newest signing key, or makes the first one.
    ///
    /// # Errors
    /// When the stored key cannot be opened with this master key; what the database says.
    pub(super) async fn open(platform: &Platform) -> Result<Self> {
        let found = platform.store.read(store::signing_key).await?;
        let (kid, sealed) = match found {
            Some(found) => found,
            None => make(platform).await?,
        };
        let der = platform.master_key.open(&context(&kid), &sealed)?;
        let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(Error::broken)?;
        let header = Header { alg: "EdDSA".to_owned(), typ: "at+jwt".to_owned(), kid: kid.clone() };
        let header = BASE64URL.encode(serde_json::to_vec(&header).map_err(Error::broken)?);
        let signer = Self { platform: platform.clone(), kid, header, pair, publics: RwLock::default() };
        signer.reload().await?;
        Ok(signer)
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<String> {
        self.seal(&self.header, claims)
    }

    /// Signs something else than an access token, of which `typ` says what it is.
    pub(super) fn sign_as(&self, typ: &str, claims: &impl Serialize) -> Result<String> {
        let header = Header { alg: "EdDSA".to_owned(), typ: typ.to_owned(), kid: self.kid.clone() };
        self.seal(&BASE64URL.encode(serde_json::to_vec(&header).map_err(Error::broken)?), claims)
    }

    fn seal(&self, header: &str, claims: &impl Serialize) -> Result<String> {
        let claims = BASE64URL.encode(serde_json::to_vec(claims).map_err(Error::broken)?);
        let signed = format!("{header}.{claims}");
        let signature = BASE64URL.encode(self.pair.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// The claims of a token that we signed and that is valid now; `None` for everything else.
    pub(super) async fn check(&self, token: &str) -> Result<Option<Claims>> {
        let Some((kid, signed, signature)) = split(token) else { return Ok(None) };
        let Some(public) = self.public(&kid).await? else { return Ok(None) };
        if UnparsedPublicKey::new(&ED25519, &public).verify(signed.as_bytes(), &signature).is_err() {
            return Ok(None);
        }
        let claims = signed.split('.').nth(1).and_then(|part| BASE64URL.decode(part).ok());
        let claims: Option<Claims> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let now_s = self.platform.clock.now_ms().div_euclid(1_000);
        Ok(claims.filter(|c| c.iss == self.platform.config.public_url && now_s < c.exp && c.iat <= now_s + SKEW_S))
    }

    async fn public(&self, kid: &str) -> Result<Option<Vec<u8>>> {
        let now_ms = self.platform.clock.now_ms();
        {
            let publics = self.publics.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = publics.by_kid.get(kid) {
                return Ok(Some(found.clone()));
            }
            // Another node may have made a key since; asked rarely, so that forged tokens cost no queries.
            if (0..RELOAD_MS).contains(&(now_ms - publics.read_ms)) {
                return Ok(None);
            }
        }
        self.reload().await?;
        Ok(self.publics.read().unwrap_or_else(PoisonError::into_inner).by_kid.get(kid).cloned())
    }

    async fn reload(&self) -> Result<()> {
        let rows = self.platform.store.read(store::public_keys).await?;
        let by_kid = rows.iter().filter_map(|(kid, jwk)| Some((kid.clone(), BASE64URL.decode(jwk.0.get("x")?.as_str()?).ok()?)));
        let publics = Publics { by_kid: by_kid.collect(), read_ms: self.platform.clock.now_ms() };
        *self.publics.write().unwrap_or_else(PoisonError::into_inner) = publics;
        Ok(())
    }
}

/// Key id, signed part and signature of a token whose header is exactly one of ours.
fn split(token: &str) -> Option<(String, &str, Vec<u8>)> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&BASE64URL.decode(header).ok()?).ok()?;
    let is_ours = header.alg == "EdDSA" && header.typ == "at+jwt" && !claims.contains('.');
    is_ours.then_some((header.kid, signed, BASE64URL.decode(signature).ok()?))
}

async fn make(platform: &Platform) -> Result<(String, Vec<u8>)> {
    let der = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).map_err(Error::broken)?;
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).map_err(Error::broken)?;
    let jwk = public_jwk(pair.public_key().as_ref());
    let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sealed = platform.master_key.seal(&platform.ids, &context(&kid), der.as_ref())?;
    let now_ms = platform.clock.now_ms();
    // Two nodes may start at once: the one that comes second takes the key of the first.
    let kept = platform.store.write(move |conn| match store::signing_key(conn)? {
        Some(found) => Ok(found),
        None => {
            store::insert_signing_key(conn, (&kid, &sealed, &jwk), now_ms)?;
            Ok((kid, sealed))
        }
    });
    kept.await
}

fn context(kid: &str) -> String {
    format!("signing_keys/{kid}")
}

/// A public key as a JWK (RFC 8037); its id is the thumbprint of RFC 7638.
fn public_jwk(public: &[u8]) -> Value {
    let x = BASE64URL.encode(public);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let kid = BASE64URL.encode(digest::digest(&digest::SHA256, members.as_bytes()));
    json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA" })
}

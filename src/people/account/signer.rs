//! Access tokens: JWTs after RFC 9068, signed with Ed25519. Signing keys are stored sealed, and change by [`keyring`].

use super::impersonation::ACTING_S;
use super::keyring::{self, over_ms};
use super::store::{self, StoredKey};
use crate::clock::DAY_MS;
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, Ids, SessionId, UserId};
use crate::platform::{MasterKey, Platform};
use crate::store::Conn;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};

/// The `typ` of our access tokens.
const ACCESS_TOKEN: &str = "at+jwt";
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;
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
    pub(super) amr: Vec<String>,
    pub(super) auth_time: i64,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: String,
    /// Who acts as the user (RFC 8693, section 4.1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) act: Option<Acting>,
    /// What the app wants to read here of its user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) claims: Option<FreeJson>,
}

/// Somebody of the back office.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Acting {
    /// `key_…` or `opr_…`.
    pub(super) sub: String,
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
    ring: RwLock<Ring>,
}

/// The keys that are not retired, oldest first.
#[derive(Default)]
struct Ring {
    keys: Vec<Arc<Key>>,
    read_ms: i64,
}

struct Key {
    kid: String,
    pair: Ed25519KeyPair,
    made_ms: i64,
}

impl Signer {
    /// Opens the signing keys, or makes the first one.
    ///
    /// # Errors
    /// When a stored key cannot be opened with this master key; what the database says.
    pub(super) async fn open(platform: &Platform) -> Result<Self> {
        let signer = Self { platform: platform.clone(), ring: RwLock::default() };
        signer.make(|keys| keys.is_empty()).await?;
        signer.reload().await?;
        Ok(signer)
    }

    /// An access token.
    ///
    /// # Errors
    /// When there is no key, which our own code makes impossible.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String> {
        self.sign_as(ACCESS_TOKEN, claims)
    }

    /// Signs a document; `typ` says what it is, and only [`ACCESS_TOKEN`] is one that [`Signer::check`] takes.
    ///
    /// # Errors
    /// As [`Signer::sign`].
    pub(super) fn sign_as(&self, typ: &str, claims: &impl Serialize) -> Result<String> {
        let key = self.signing()?;
        let header = Header { alg: "EdDSA".to_owned(), typ: typ.to_owned(), kid: key.kid.clone() };
        let part = |value: Result<Vec<u8>, serde_json::Error>| value.map(|json| BASE64URL.encode(json)).map_err(Error::broken);
        let signed = format!("{}.{}", part(serde_json::to_vec(&header))?, part(serde_json::to_vec(claims))?);
        let signature = BASE64URL.encode(key.pair.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// The claims of a token that we signed and that is valid now; `None` for everything else.
    pub(super) async fn check(&self, token: &str) -> Result<Option<Claims>> {
        let Some((kid, signed, signature)) = split(token) else { return Ok(None) };
        let Some(key) = self.key(&kid).await? else { return Ok(None) };
        if UnparsedPublicKey::new(&ED25519, key.pair.public_key().as_ref()).verify(signed.as_bytes(), &signature).is_err() {
            return Ok(None);
        }
        let claims = signed.split('.').nth(1).and_then(|part| BASE64URL.decode(part).ok());
        let claims: Option<Claims> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let now_s = self.platform.clock.now_ms().div_euclid(1_000);
        Ok(claims.filter(|c| c.iss == self.platform.config.public_url && now_s < c.exp && c.iat <= now_s + SKEW_S))
    }

    /// Makes a new key when it is time, and destroys those whose last tokens are over.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn tend(&self) -> Result<()> {
        let (config, now_ms) = (&self.platform.config, self.platform.clock.now_ms());
        let age_ms = i64::from(config.signing_key_days) * DAY_MS;
        self.make(move |keys| keys.last().is_none_or(|newest| now_ms - newest.made_ms >= age_ms)).await?;
        let life_ms = config.access_token_life_s.max(ACTING_S) * 1_000;
        let retire = move |conn: &mut Conn| {
            let keys = store::signing_keys(conn)?;
            for pair in keys.windows(2) {
                if over_ms(pair[1].made_ms, life_ms) <= now_ms {
                    store::retire_key(conn, &pair[0].kid, now_ms)?;
                }
            }
            Ok(())
        };
        self.platform.store.write(retire).await?;
        self.reload().await
    }

    fn signing(&self) -> Result<Arc<Key>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let made_ms: Vec<i64> = ring.keys.iter().map(|key| key.made_ms).collect();
        let place = keyring::signing(&made_ms, self.platform.clock.now_ms());
        ring.keys.get(place).cloned().ok_or_else(|| Error::broken("there is no signing key"))
    }

    async fn key(&self, kid: &str) -> Result<Option<Arc<Key>>> {
        let now_ms = self.platform.clock.now_ms();
        let known = |ring: &Ring| ring.keys.iter().find(|key| key.kid == kid).cloned();
        {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = known(&ring) {
                return Ok(Some(found));
            }
            // Another node may have made a key since; asked rarely, so that forged tokens cost no queries.
            if (0..RELOAD_MS).contains(&(now_ms - ring.read_ms)) {
                return Ok(None);
            }
        }
        self.reload().await?;
        Ok(known(&self.ring.read().unwrap_or_else(PoisonError::into_inner)))
    }

    async fn reload(&self) -> Result<()> {
        let stored = self.platform.store.read(store::signing_keys).await?;
        let open = |key: StoredKey| {
            let der = self.platform.master_key.open(&context(&key.kid), &key.sealed)?;
            let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(Error::broken)?;
            Ok(Arc::new(Key { kid: key.kid, pair, made_ms: key.made_ms }))
        };
        let keys: Result<Vec<_>> = stored.into_iter().map(open).collect();
        let ring = Ring { keys: keys?, read_ms: self.platform.clock.now_ms() };
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
    }

    async fn make(&self, wanted: impl FnOnce(&[StoredKey]) -> bool + Send + 'static) -> Result<()> {
        let platform = self.platform.clone();
        let write = move |conn: &mut Conn| make(conn, (&platform.master_key, &platform.ids, platform.clock.now_ms()), wanted);
        self.platform.store.write(write).await.map(drop)
    }
}

/// Makes a key if it is wanted, given those that there are. Of two nodes that ask at once, one makes it.
///
/// # Errors
/// What the database says.
pub(super) fn make(
    conn: &mut Conn,
    (master_key, ids, now_ms): (&MasterKey, &Ids, i64),
    wanted: impl FnOnce(&[StoredKey]) -> bool,
) -> Result<Option<String>> {
    conn.serialise("signing keys")?;
    let keys = store::signing_keys(conn)?;
    if !wanted(&keys) {
        return Ok(None);
    }
    // Keys are told apart by when they were made, whatever the clock does.
    let made_ms = keys.last().map_or(now_ms, |newest| now_ms.max(newest.made_ms + 1));
    let der = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).map_err(Error::broken)?;
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).map_err(Error::broken)?;
    let jwk = public_jwk(pair.public_key().as_ref());
    let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let sealed = master_key.seal(ids, &context(&kid), der.as_ref())?;
    store::insert_signing_key(conn, (&kid, &sealed, &jwk), made_ms)?;
    Ok(Some(kid))
}

/// Key id, signed part and signature of a token whose header is exactly one of ours.
fn split(token: &str) -> Option<(String, &str, Vec<u8>)> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&BASE64URL.decode(header).ok()?).ok()?;
    let is_ours = header.alg == "EdDSA" && header.typ == ACCESS_TOKEN && !claims.contains('.');
    is_ours.then_some((header.kid, signed, BASE64URL.decode(signature).ok()?))
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

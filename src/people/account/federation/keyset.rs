//! An issuer's public keys (RFC 7517): which we can use, and whether one of them signed a token. Pure.
//!
//! The kind of a key says how it signs. What a token claims of its algorithm must agree, and decides nothing.

use super::token::{Algorithm, KID_MAX, Signed};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of one issuer.
const KEYS_MAX: usize = 32;

/// The keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<(String, Key)>);

#[derive(Debug)]
enum Key {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set; keys of other kinds and uses are left out.
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let jwks: Jwks = serde_json::from_slice(body).map_err(|_| "its key set is not one")?;
        if jwks.keys.len() > KEYS_MAX {
            return Err("it has too many keys");
        }
        let keys: Vec<_> = jwks.keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err("it has no key that we can use") } else { Ok(Self(keys)) }
    }

    fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&Key> {
        self.0.iter().find(|(id, key)| id == kid && key.algorithm() == algorithm).map(|(_, key)| key)
    }

    /// Whether there is a key by which a token may be signed.
    pub(super) fn knows(&self, kid: &str, algorithm: Algorithm) -> bool {
        self.find(kid, algorithm).is_some()
    }

    /// Whether one of them signed it.
    pub(super) fn signed(&self, token: &Signed<'_>) -> bool {
        self.find(&token.kid, token.algorithm).is_some_and(|key| key.signed(token.message, &token.signature))
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<(String, Self)> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64URL.decode(text(name)?).ok();
        let coordinate = |name: &str| bytes(name).filter(|bytes| bytes.len() == 32);
        let is_for_signing = text("use").is_none_or(|word| word == "sig");
        let may_verify = |all: &Vec<Value>| all.iter().any(|word| word == "verify");
        let is_for_verifying = jwk.get("key_ops").and_then(Value::as_array).is_none_or(may_verify);
        // A private key in public is nobody's any more.
        if !is_for_signing || !is_for_verifying || jwk.get("d").is_some() {
            return None;
        }
        let key = match (text("kty")?, text("crv")) {
            ("RSA", None) => Self::Rsa { n: trimmed(bytes("n")?), e: trimmed(bytes("e")?) },
            ("EC", Some("P-256")) => Self::P256([vec![4], coordinate("x")?, coordinate("y")?].concat()),
            ("OKP", Some("Ed25519")) => Self::Ed25519(coordinate("x")?),
            _ => return None,
        };
        let kid = text("kid").filter(|kid| (1..=KID_MAX).contains(&kid.len()))?.to_owned();
        let agrees = text("alg").is_none_or(|alg| Algorithm::parse(alg) == Some(key.algorithm()));
        agrees.then_some((kid, key))
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            // Less than 2,048 bits are refused here.
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok(),
            Self::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok(),
        }
    }
}

/// Some issuers put a zero in front of a number whose first bit is set.
fn trimmed(number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.into_iter().skip(zeros).collect()
}

//! The keys with which a browser, or an installation of an app, reads what was encrypted for it (RFC 8291).

use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

/// What stands before the ciphertext: salt, record size, and the sender's key with its length.
pub(super) const HEADER_BYTES: usize = 86;

/// A private key and a secret.
#[derive(Clone)]
pub struct Keyring {
    private: SecretKey,
    auth: [u8; 16],
}

impl Keyring {
    /// New ones.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn make() -> Result<Self> {
        let random = SystemRandom::new();
        let (mut private, mut auth) = ([0; 32], [0; 16]);
        random.fill(&mut private).and_then(|()| random.fill(&mut auth)).map_err(Error::broken)?;
        Ok(Self { private: SecretKey::from_slice(&private).map_err(Error::broken)?, auth })
    }

    /// What a sender is told: `{p256dh, auth}` in base64url.
    pub fn shared(&self) -> Value {
        let point = self.private.public_key().to_sec1_point(false);
        json!({"p256dh": URL_SAFE_NO_PAD.encode(point.as_bytes()), "auth": URL_SAFE_NO_PAD.encode(self.auth)})
    }

    /// Decrypts a body as a browser does; `None` when it cannot.
    pub fn read(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (salt, sender) = (body.get(..16)?, body.get(21..HEADER_BYTES)?);
        let shared = self.private.diffie_hellman(&PublicKey::from_sec1_bytes(sender).ok()?);
        let own = self.private.public_key().to_sec1_point(false);
        let input: [u8; 32] = expand(&self.auth, shared.raw_secret_bytes(), &[b"WebPush: info\0", own.as_bytes(), sender])?;
        let key: [u8; 16] = expand(salt, &input, &[b"Content-Encoding: aes128gcm\0"])?;
        let nonce: [u8; 12] = expand(salt, &input, &[b"Content-Encoding: nonce\0"])?;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
        let mut record = body.get(HEADER_BYTES..)?.to_vec();
        let opened = cipher.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).ok()?;
        let end = opened.iter().rposition(|byte| *byte != 0)?;
        // The delimiter of the last record.
        if opened.get(end) == Some(&2) { opened.get(..end).map(<[u8]>::to_vec) } else { None }
    }
}

/// As many bytes as are asked for.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    key.expand(info, Bytes(N)).and_then(|okm| okm.fill(&mut out)).ok()?;
    Some(out)
}

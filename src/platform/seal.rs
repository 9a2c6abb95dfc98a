//! The master key: encrypts stored credentials (ChaCha20-Poly1305, RFC 8439) and derives secrets of their own purpose.

use crate::config::{Config, Secret};
use crate::error::{Error, Result};
use crate::id::Ids;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// 32 secret bytes. Without them stored credentials cannot be read.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// Reads the key from the settings, or, with SQLite, from the data folder, where the first start makes one.
    ///
    /// # Errors
    /// One line that says what to set.
    pub fn load(config: &Config, ids: &Ids) -> Result<Self> {
        if !config.master_key.expose().is_empty() {
            return Self::parse(&config.master_key, "KAIROS_MASTER_KEY");
        }
        if !config.master_key_file.is_empty() {
            let text = std::fs::read_to_string(&config.master_key_file)
                .map_err(|e| Error::broken(format!("KAIROS_MASTER_KEY_FILE: cannot read {}: {e}", config.master_key_file)))?;
            return Self::parse(&Secret::new(text), "KAIROS_MASTER_KEY_FILE");
        }
        if !config.database_url.expose().starts_with("sqlite://") {
            return Err(Error::broken(
                "KAIROS_MASTER_KEY is required with PostgreSQL: set it to 32 random bytes in base64, e.g. from `openssl rand -base64 32`",
            ));
        }
        Self::load_or_make(&config.data_dir.join("master.key"), ids)
    }

    fn load_or_make(path: &Path, ids: &Ids) -> Result<Self> {
        let fail = |e: std::io::Error| Error::broken(format!("cannot keep the master key in {}: {e}", path.display()));
        if let Ok(text) = std::fs::read_to_string(path) {
            return Self::parse(&Secret::new(text), "the master key file in the data folder");
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(fail)?;
        }
        let key = ids.bytes::<32>();
        // Written whole or not at all: a half-written key would lock the credentials away for good.
        let draft = path.with_extension("draft");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(fail)?;
        file.write_all(STANDARD.encode(key).as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        std::fs::rename(&draft, path).map_err(fail)?;
        Ok(Self(key))
    }

    fn parse(text: &Secret, name: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text.expose().trim()).unwrap_or_default();
        let key = bytes
            .try_into()
            .map_err(|_| Error::broken(format!("{name} must hold 32 bytes in base64, e.g. from `openssl rand -base64 32`")))?;
        Ok(Self(key))
    }

    /// Encrypts; `context` (table, app, name) must be the same to decrypt, so that rows cannot be swapped.
    ///
    /// # Errors
    /// Never in practice: only for texts of many gigabytes.
    pub fn seal(&self, ids: &Ids, context: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce = ids.bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut sealed)
            .map_err(|_| Error::broken("cannot encrypt"))?;
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    /// Decrypts what [`MasterKey::seal`] made with the same context.
    ///
    /// # Errors
    /// When the key or the context is another one, or the bytes were changed.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let fail = || Error::broken(format!("cannot decrypt {context}: is KAIROS_MASTER_KEY the one it was stored with?"));
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(fail)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| fail())?;
        let mut bytes = rest.to_vec();
        let plain = self.cipher()?.open_in_place(nonce, Aad::from(context.as_bytes()), &mut bytes).map_err(|_| fail())?;
        Ok(plain.to_vec())
    }

    /// A keyed hash for one purpose: the same master key, purpose and data give the same 32 bytes.
    pub fn derive(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(data);
        let mut out = [0; 32];
        out.copy_from_slice(mac.sign().as_ref());
        out
    }

    /// As [`MasterKey::derive`], as 64 hex digits.
    pub fn derive_hex(&self, purpose: &str, data: &[u8]) -> String {
        self.derive(purpose, data).iter().fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a String does not fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.0).map(LessSafeKey::new).map_err(Error::broken)
    }
}

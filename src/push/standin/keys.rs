//! Whose signatures the stand-in believes, and the access tokens that it has sold.

use crate::push::Environment;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// An APNs key as Apple knows it.
#[derive(Debug)]
pub(super) struct TeamKey {
    pub(super) key_id: String,
    pub(super) team_id: String,
    pub(super) public_key: Vec<u8>,
    pub(super) environment: Environment,
    pub(super) topics: Vec<String>,
}

/// A service account as Google knows it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) project_id: String,
    pub(super) public_key: Vec<u8>,
}

/// A provider token that was checked: its key and its age.
#[derive(Clone)]
pub(super) struct Checked {
    pub(super) key: Arc<TeamKey>,
    pub(super) iat_s: i64,
}

/// An access token: for which project, until when.
#[derive(Clone)]
pub(super) struct Sold {
    pub(super) project_id: String,
    pub(super) expires_ms: i64,
}

#[derive(Default)]
pub(super) struct Keys {
    teams: RwLock<HashMap<String, Arc<TeamKey>>>,
    accounts: RwLock<HashMap<String, Arc<Account>>>,
    checked: RwLock<HashMap<String, Checked>>,
    sold: RwLock<HashMap<String, Sold>>,
    exchanges: AtomicUsize,
}

#[derive(Deserialize)]
pub(super) struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

impl Header {
    pub(super) fn is_es256(&self) -> bool {
        self.alg == "ES256"
    }
}

#[derive(Deserialize)]
struct ProviderClaims {
    iss: String,
    iat: i64,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

impl Keys {
    pub(super) fn add_team(&self, key: TeamKey) {
        self.teams.write().unwrap_or_else(PoisonError::into_inner).insert(key.key_id.clone(), Arc::new(key));
    }

    pub(super) fn remove_team(&self, key_id: &str) {
        self.teams.write().unwrap_or_else(PoisonError::into_inner).remove(key_id);
        self.checked.write().unwrap_or_else(PoisonError::into_inner).retain(|_, checked| checked.key.key_id != key_id);
    }

    pub(super) fn remove_account(&self, client_email: &str) {
        self.accounts.write().unwrap_or_else(PoisonError::into_inner).remove(client_email);
    }

    /// How many different tokens of this key were shown and found good.
    pub(super) fn shown(&self, key_id: &str) -> usize {
        self.checked.read().unwrap_or_else(PoisonError::into_inner).values().filter(|c| c.key.key_id == key_id).count()
    }

    pub(super) fn add_account(&self, client_email: String, account: Account) {
        self.accounts.write().unwrap_or_else(PoisonError::into_inner).insert(client_email, Arc::new(account));
    }

    pub(super) fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::SeqCst)
    }

    /// Checks a provider token's signature, key and team; its age is the caller's business.
    pub(super) fn provider(&self, token: &str) -> Option<Checked> {
        if let Some(checked) = self.checked.read().unwrap_or_else(PoisonError::into_inner).get(token) {
            return Some(checked.clone());
        }
        let (header, claims, signed, signature) = parts::<ProviderClaims>(token)?;
        if header.alg != "ES256" {
            return None;
        }
        let key = self.teams.read().unwrap_or_else(PoisonError::into_inner).get(&header.kid).cloned()?;
        if key.team_id != claims.iss {
            return None;
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.public_key).verify(signed.as_bytes(), &signature).ok()?;
        let checked = Checked { key, iat_s: claims.iat };
        self.checked.write().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), checked.clone());
        Some(checked)
    }

    /// Sells an access token for an assertion that came to this URL; the error is Google's word.
    pub(super) fn exchange(&self, assertion: &str, asked_at: Option<&str>, now_ms: i64) -> Result<String, &'static str> {
        let (header, claims, signed, signature) = parts::<AssertionClaims>(assertion).ok_or("invalid_grant")?;
        let account = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(&claims.iss).cloned();
        let account = account.ok_or("invalid_grant")?;
        let now_s = now_ms.div_euclid(1_000);
        let timely = claims.exp - claims.iat <= 3_600 && claims.exp > now_s && (claims.iat - now_s).abs() <= 300;
        let for_us = claims.aud == super::issue::TOKEN_URI || Some(claims.aud.as_str()) == asked_at;
        if header.alg != "RS256" || !timely || !for_us {
            return Err("invalid_grant");
        }
        let scopes = ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
        if !claims.scope.split(' ').any(|scope| scopes.contains(&scope)) {
            return Err("invalid_scope");
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &account.public_key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| "invalid_grant")?;
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| "server_error")?;
        let token = format!("ya29.{}", URL_SAFE_NO_PAD.encode(bytes));
        let sold = Sold { project_id: account.project_id.clone(), expires_ms: now_ms + 3_600_000 };
        self.sold.write().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), sold);
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        Ok(token)
    }

    /// What this access token may, if it was sold here.
    pub(super) fn access(&self, token: &str) -> Option<Sold> {
        self.sold.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

/// Header, claims, the signed text and the signature of a compact JWS.
pub(super) fn parts<C: serde::de::DeserializeOwned>(token: &str) -> Option<(Header, C, &str, Vec<u8>)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some((header, claims, signed, URL_SAFE_NO_PAD.decode(signature).ok()?))
}

//! Credentials that the stand-in believes, in the shape in which the real providers hand them out.

use super::keys::{Account, Keys, TeamKey};
use crate::error::{Error, Result};
use crate::push::{Environment, Gateway};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// Where Google sells access tokens.
pub(super) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// The private key of the stand-in's own service accounts. It opens nothing anywhere else: only a stand-in believes it.
const ACCOUNT_KEY: &str = include_str!("demo_account.pem");

/// A new APNs key; believed from now on.
pub(super) fn apns(keys: &Keys, environment: Environment, topics: &[&str]) -> Result<Value> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(Error::broken)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).map_err(Error::broken)?;
    let (team_id, key_id) = (name(&random)?, name(&random)?);
    let key = TeamKey {
        key_id: key_id.clone(),
        team_id: team_id.clone(),
        public_key: pair.public_key().as_ref().to_vec(),
        environment,
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
    };
    keys.add_team(key);
    let text = STANDARD.encode(pkcs8.as_ref());
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    Ok(json!({"environment": environment.name(), "team_id": team_id, "key_id": key_id, "key_p8": pem, "topics": topics}))
}

/// A service account; believed from now on.
pub(super) fn fcm(keys: &Keys, project_id: &str) -> Result<Value> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(ACCOUNT_KEY.as_bytes()).map_err(Error::broken)?;
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(Error::broken)?;
    let client_email = format!("kairos@{project_id}.iam.gserviceaccount.com");
    let account = Account { project_id: project_id.to_owned(), public_key: pair.public_key().as_ref().to_vec() };
    keys.add_account(client_email.clone(), account);
    Ok(json!({"service_account": {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": "stand-in",
        "private_key": ACCOUNT_KEY,
        "client_email": client_email,
        "token_uri": TOKEN_URI,
    }}))
}

/// A token as a phone would get it from this gateway.
pub(super) fn token(gateway: Gateway) -> Result<String> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(Error::broken)?;
    Ok(match gateway {
        Gateway::Apns => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        Gateway::Fcm => format!("standin:{}", URL_SAFE_NO_PAD.encode(bytes)),
        Gateway::WebPush => {
            return Err(Error::broken("browsers have no tokens: POST /standin/subscriptions makes one subscribe"));
        }
    })
}

/// Ten letters and digits, as Apple's ids are.
fn name(random: &SystemRandom) -> Result<String> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut bytes = [0_u8; 10];
    random.fill(&mut bytes).map_err(Error::broken)?;
    Ok(bytes.iter().map(|b| char::from(LETTERS.get(usize::from(b % 32)).copied().unwrap_or(b'A'))).collect())
}

//! An ID token: read strictly, then judged by what its issuer is set to. Pure.
//!
//! The header only names a key and an algorithm. Keys that it brings along (`jwk`, `jku`, `x5u`, `x5c`) are not looked
//! at; what it holds to be critical (`crit`) is unknown to us and refused.

use super::provider::NonceRule;
use crate::http::{FreeJson, parse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::digest;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8_192;
/// Longest id of a key, in bytes.
pub(super) const KID_MAX: usize = 255;
/// Longest subject, in bytes.
const SUBJECT_MAX: usize = 255;
/// Most audiences of one token.
const AUDIENCES_MAX: usize = 32;
/// How far the issuer's clock and ours may be apart, in seconds.
pub(super) const SKEW_S: i64 = 60;
/// Longest time that a token may have to live, in seconds.
const LIFE_MAX_S: i64 = 86_400;

/// What is wrong with a token: for figures, never for the caller.
pub(super) type Flaw = &'static str;

/// A way to sign that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A token whose signature nobody has checked yet.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    pub(super) claims: Claims,
}

/// Takes a token apart.
pub(super) fn read(token: &str) -> Result<Signed<'_>, Flaw> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err("too_long");
    }
    let (message, signature) = token.rsplit_once('.').ok_or("form")?;
    let (header, claims) = message.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or("form")?;
    let header = Claims(object(header).ok_or("header")?);
    if header.0.contains_key("crit") {
        return Err("crit");
    }
    if header.text("typ")?.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err("typ");
    }
    let algorithm = header.text("alg")?.and_then(Algorithm::parse).ok_or("alg")?;
    let kid = header.text("kid")?.filter(|kid| (1..=KID_MAX).contains(&kid.len())).ok_or("kid")?.to_owned();
    let signature = BASE64URL.decode(signature).map_err(|_| "form")?;
    let claims = Claims(object(claims).ok_or("claims")?);
    Ok(Signed { kid, algorithm, message: message.as_bytes(), signature, claims })
}

/// A JSON object in base64url; a name that comes twice, at any depth, spoils it.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64URL.decode(part).ok()?;
    parse::<FreeJson>(&bytes).ok().map(|object| object.0)
}

/// What a token says. Null is the same as nothing.
#[derive(Debug, Clone)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Flaw> {
        self.get(name).map(|value| value.as_str().ok_or(name)).transpose()
    }

    /// Seconds since 1970; a fraction is cut.
    pub(super) fn time_s(&self, name: &'static str) -> Result<Option<i64>, Flaw> {
        let read = |value: &Value| {
            let whole = value.as_f64().filter(|s| s.abs() < 1e15).map(|s| s.floor() as i64);
            value.as_i64().or(whole).ok_or(name)
        };
        self.get(name).map(read).transpose()
    }

    /// A truth that some issuers write as a text.
    fn truth(&self, name: &'static str) -> Result<Option<bool>, Flaw> {
        let read = |value: &Value| match value {
            Value::Bool(truth) => Ok(*truth),
            Value::String(word) if word == "true" => Ok(true),
            Value::String(word) if word == "false" => Ok(false),
            _ => Err(name),
        };
        self.get(name).map(read).transpose()
    }

    /// For whom it was issued: the first audience that is one of these clients. With several audiences the party it was
    /// issued to must be one of them too; and it never may be another.
    pub(super) fn client(&self, client_ids: &[String]) -> Result<String, Flaw> {
        let audiences: Vec<&str> = match self.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) if (1..=AUDIENCES_MAX).contains(&several.len()) => {
                several.iter().map(Value::as_str).collect::<Option<_>>().ok_or("aud")?
            }
            _ => return Err("aud"),
        };
        let ours = |id: &str| client_ids.iter().any(|own| own == id);
        let client = audiences.iter().find(|id| ours(id)).ok_or("aud")?;
        match self.text("azp")? {
            Some(party) if !ours(party) => Err("azp"),
            None if audiences.len() > 1 => Err("azp"),
            Some(_) | None => Ok((*client).to_owned()),
        }
    }

    pub(super) fn subject(&self) -> Result<String, Flaw> {
        let good = |sub: &&str| (1..=SUBJECT_MAX).contains(&sub.len()) && !sub.chars().any(char::is_control);
        self.text("sub")?.filter(good).map(str::to_owned).ok_or("sub")
    }

    /// Whether it was issued before now and is to be used by now.
    pub(super) fn begun(&self, now_s: i64) -> Result<i64, Flaw> {
        let issued_s = self.time_s("iat")?.filter(|s| *s <= now_s + SKEW_S).ok_or("iat")?;
        if self.time_s("nbf")?.is_some_and(|s| s > now_s + SKEW_S) {
            return Err("nbf");
        }
        Ok(issued_s)
    }

    /// Whether it is to be used still.
    pub(super) fn lasts(&self, now_s: i64) -> Result<(), Flaw> {
        let ends = self.time_s("exp")?.ok_or("exp")?;
        if ends > now_s - SKEW_S && ends <= now_s + LIFE_MAX_S + SKEW_S { Ok(()) } else { Err("exp") }
    }

    /// Whether it answers the request that the caller made.
    pub(super) fn nonce(&self, rule: NonceRule, given: Option<&str>) -> Result<(), Flaw> {
        let said = self.text("nonce")?;
        let same = match (rule, given, said) {
            (NonceRule::Sha256, Some(given), Some(said)) => said == sha256_hex(given),
            (NonceRule::Required | NonceRule::Optional, Some(given), Some(said)) => said == given,
            // Apple says when a platform of its own cannot carry one.
            (NonceRule::Optional, Some(_), None) => self.truth("nonce_supported")? == Some(false),
            (NonceRule::Optional, None, said) => said.is_none(),
            (NonceRule::Required | NonceRule::Sha256, None, _) | (NonceRule::Required | NonceRule::Sha256, _, None) => false,
        };
        if same { Ok(()) } else { Err("nonce") }
    }

    /// The address, if it is one: as said, whether the issuer has verified it, and whether it is one that forwards.
    pub(super) fn address(&self) -> Result<Option<(&str, bool, bool)>, Flaw> {
        let verified = self.truth("email_verified")? == Some(true);
        let private = self.truth("is_private_email")? == Some(true);
        Ok(self.text("email")?.map(|email| (email, verified, private)))
    }
}

fn sha256_hex(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

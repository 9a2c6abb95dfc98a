//! An issuer of ID tokens that an app believes: which tokens, for which clients, and whose addresses it may speak for.

use super::apple::AppleKey;
use super::keys::Source;
use super::token::{Claims, Flaw};
use crate::config::{Config, Secret};
use crate::error::{Error, Result};
use crate::http::check_text;
use crate::id::AppId;
use crate::people::account::password::check_email;
use crate::people::check;
use crate::platform::Platform;
use serde::{Deserialize, Serialize};

/// Most clients of one issuer.
const CLIENTS_MAX: usize = 50;
/// Most domains for which one issuer has authority.
const DOMAINS_MAX: usize = 50;
/// Longest client id, issuer and other text, in characters.
const TEXT_MAX: usize = 255;
/// Most issuers of one app.
pub(super) const PROVIDERS_MAX: usize = 20;

/// Apple's name in what it signs and in what is signed for it.
pub(super) const APPLE: &str = "https://appleid.apple.com";
const GOOGLE: &str = "https://accounts.google.com";
/// Google writes its own name in two ways.
const GOOGLE_SHORT: &str = "accounts.google.com";
const GOOGLE_KEYS: &str = "https://www.googleapis.com";

/// The name under which Apple is set up.
pub(super) const APPLE_NAME: &str = "apple";

/// How the token's nonce has to go with the one that the caller says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NonceRule {
    /// It is the same.
    #[default]
    Required,
    /// It is the SHA-256 of it, in lower-case hex.
    Sha256,
    /// It is the same, or both are missing.
    Optional,
}

/// What may be shown of Apple's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AppleIds {
    /// The team's id, 10 letters and digits.
    pub team_id: String,
    /// The key's id, 10 letters and digits.
    pub key_id: String,
}

/// How an issuer is set up, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// For whom a token must be issued.
    pub client_ids: Vec<String>,
    /// Where its keys are; absent: where its discovery document says.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// Domains for whose addresses it has authority.
    #[serde(default)]
    pub trusted_domains: Vec<String>,
    /// See the type.
    #[serde(default)]
    pub nonce: NonceRule,
    /// Whose key signs what we say to Apple.
    #[serde(default)]
    pub apple: Option<AppleIds>,
}

/// An issuer of one app.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The tenant.
    pub app_id: AppId,
    /// `apple`, `google`, or a name of the app's own.
    pub name: String,
    /// How it is set up.
    pub settings: Settings,
    /// Apple's private key.
    pub sealed: Option<Vec<u8>>,
    /// When it was set up last.
    pub updated_ms: i64,
}

/// What an issuer vouches for, once its token was found good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Vouched {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) client_id: String,
    pub(super) email: Option<String>,
    /// Whether the issuer has seen that they read its mail.
    pub(super) verified: bool,
    /// Whether it does not matter who else says so.
    pub(super) has_authority: bool,
    pub(super) is_private: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Apple,
    Google,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            APPLE_NAME => Self::Apple,
            "google" => Self::Google,
            _ => Self::Other,
        }
    }

    fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Apple => Some(APPLE),
            Self::Google => Some(GOOGLE),
            Self::Other => None,
        }
    }
}

/// What to set up, as the app's server says it.
pub(super) struct Wanted {
    pub(super) app_id: AppId,
    pub(super) name: String,
    pub(super) issuer: Option<String>,
    pub(super) settings: Settings,
    pub(super) key_p8: Option<Secret>,
}

impl Provider {
    /// Checks how an issuer is to be set up.
    ///
    /// # Errors
    /// 400 that names the field at fault.
    pub(super) async fn new(platform: &Platform, wanted: Wanted) -> Result<Self> {
        let Wanted { app_id, name, issuer, mut settings, key_p8 } = wanted;
        check::key("provider", &name)?;
        let kind = Kind::of(&name);
        match (kind.issuer(), issuer) {
            (Some(known), None) => known.clone_into(&mut settings.issuer),
            (Some(known), Some(said)) if said == known => settings.issuer = said,
            (Some(known), Some(_)) => return Err(Error::invalid("issuer", "invalid", format!("is {known}; leave it out"))),
            (None, Some(said)) => settings.issuer = said,
            (None, None) => return Err(Error::invalid("issuer", "required", "expected the `iss` of its tokens")),
        }
        settings.check(kind)?;
        if kind == Kind::Other {
            check_issuer(platform, &settings).await?;
        }
        let mut provider = Self { app_id, name, settings, sealed: None, updated_ms: platform.clock.now_ms() };
        if let (Some(ids), Some(key_p8)) = (&provider.settings.apple, key_p8) {
            AppleKey::parse(&ids.team_id, &ids.key_id, key_p8.expose())
                .map_err(|(field, why)| Error::invalid(format!("apple.{field}"), "invalid", why))?;
            provider.sealed = Some(platform.master_key.seal(&platform.ids, &provider.context(), key_p8.expose().as_bytes())?);
        }
        Ok(provider)
    }

    /// Refuses what no PUT would have stored: a row that somebody has written by hand.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub(super) fn stands(&self) -> Result<()> {
        let Self { app_id, name, settings, .. } = self;
        if settings.client_ids.is_empty() || settings.client_ids.iter().any(|id| id.trim().is_empty()) {
            return Err(Error::broken(format!(
                "the identity provider `{name}` of {app_id} has no client id, so that tokens for any other app would be taken: \
                 delete its row in identity_providers and set it up by PUT /v1/identity-providers/{name}"
            )));
        }
        if settings.issuer.is_empty() || Kind::of(name).issuer().is_some_and(|known| known != settings.issuer) {
            return Err(Error::broken(format!(
                "the identity provider `{name}` of {app_id} has another issuer than its own: delete its row in \
                 identity_providers and set it up by PUT /v1/identity-providers/{name}"
            )));
        }
        Ok(())
    }

    /// Judges a token whose signature is good.
    pub(super) fn judge(&self, claims: &Claims, nonce: Option<&str>, now_s: i64) -> Result<Vouched, Flaw> {
        self.issued(claims)?;
        claims.begun(now_s)?;
        claims.lasts(now_s)?;
        claims.nonce(self.settings.nonce, nonce)?;
        let (email, verified, is_private) = match claims.address()? {
            // An address that we could not write to is none.
            Some((text, verified, private)) => (check_email(text).ok(), verified, private),
            None => (None, false, false),
        };
        let has_authority = verified && email.as_deref().is_some_and(|email| self.has_authority(email, claims));
        Ok(Vouched {
            issuer: self.settings.issuer.clone(),
            subject: claims.subject()?,
            client_id: claims.client(&self.settings.client_ids)?,
            verified: verified && email.is_some(),
            email,
            has_authority,
            is_private,
        })
    }

    /// Whether a token says that this issuer made it.
    pub(super) fn issued(&self, claims: &Claims) -> Result<(), Flaw> {
        let said = claims.text("iss")?.ok_or("iss")?;
        let is_short = Kind::of(&self.name) == Kind::Google && said == GOOGLE_SHORT;
        if said == self.settings.issuer || is_short { Ok(()) } else { Err("iss") }
    }

    /// Whether the mail of an address is this issuer's to give away. What others have verified may have changed hands.
    fn has_authority(&self, email: &str, claims: &Claims) -> bool {
        let domain = email.rsplit('@').next().unwrap_or_default();
        match Kind::of(&self.name) {
            Kind::Apple => true,
            Kind::Google => {
                let hosted = claims.text("hd").ok().flatten();
                matches!(domain, "gmail.com" | "googlemail.com") || hosted.is_some_and(|hd| hd.eq_ignore_ascii_case(domain))
            }
            Kind::Other => self.settings.trusted_domains.iter().any(|trusted| trusted == domain),
        }
    }

    /// Where its keys are.
    pub(super) fn source(&self, config: &Config) -> Source {
        let jwks_uri = match Kind::of(&self.name) {
            Kind::Apple => return apple_source(config),
            Kind::Google => Some(format!("{}/oauth2/v3/certs", base(&config.google_url, GOOGLE_KEYS))),
            Kind::Other => self.settings.jwks_uri.clone(),
        };
        Source { issuer: self.settings.issuer.clone(), jwks_uri }
    }

    /// Apple's key, if there is one.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub(super) fn apple_key(&self, platform: &Platform) -> Result<Option<AppleKey>> {
        let (Some(ids), Some(sealed)) = (&self.settings.apple, &self.sealed) else { return Ok(None) };
        let broken = || Error::broken("a stored key for Apple cannot be read");
        let text = String::from_utf8(platform.master_key.open(&self.context(), sealed)?).map_err(|_| broken())?;
        AppleKey::parse(&ids.team_id, &ids.key_id, &text).map(Some).map_err(|_| broken())
    }

    /// Ties the sealed key to its row, so that rows cannot be swapped.
    fn context(&self) -> String {
        format!("identity_providers/{}/{}", self.app_id, self.name)
    }
}

impl Settings {
    fn check(&self, kind: Kind) -> Result<()> {
        if self.client_ids.is_empty() || self.client_ids.len() > CLIENTS_MAX {
            let message = format!("expected 1 to {CLIENTS_MAX} client ids: tokens for any other client are refused");
            return Err(Error::invalid("client_ids", "out_of_range", message));
        }
        self.client_ids.iter().try_for_each(|id| check_text("client_ids", id, TEXT_MAX))?;
        let fixed = |field, is_there| match kind {
            Kind::Apple | Kind::Google if is_there => {
                Err(Error::invalid(field, "invalid", "is known for this provider; leave it out"))
            }
            Kind::Apple | Kind::Google | Kind::Other => Ok(()),
        };
        fixed("jwks_uri", self.jwks_uri.is_some())?;
        fixed("trusted_domains", !self.trusted_domains.is_empty())?;
        if self.apple.is_some() && kind != Kind::Apple {
            return Err(Error::invalid("apple", "invalid", "is for the provider `apple` alone"));
        }
        if self.trusted_domains.len() > DOMAINS_MAX {
            return Err(Error::invalid("trusted_domains", "too_long", format!("at most {DOMAINS_MAX} domains")));
        }
        let is_domain = |domain: &String| check_email(&format!("a@{domain}")).is_ok_and(|email| email[2..] == *domain);
        if !self.trusted_domains.iter().all(is_domain) {
            return Err(Error::invalid("trusted_domains", "invalid", "expected domains in lower case such as example.com"));
        }
        Ok(())
    }
}

/// Whether an issuer of the app's own choice, and where its keys are, can be asked.
async fn check_issuer(platform: &Platform, settings: &Settings) -> Result<()> {
    check_text("issuer", &settings.issuer, TEXT_MAX)?;
    let public_url = &platform.config.public_url;
    if settings.issuer.trim_end_matches('/') == public_url {
        return Err(Error::invalid("issuer", "invalid", "is this server: it signs no ID tokens"));
    }
    if [APPLE, GOOGLE, GOOGLE_SHORT].contains(&settings.issuer.as_str()) {
        return Err(Error::invalid("issuer", "invalid", "set this one up as `apple` or `google`"));
    }
    let (field, url) = match &settings.jwks_uri {
        Some(uri) => ("jwks_uri", uri),
        None => ("issuer", &settings.issuer),
    };
    super::fetch::vet(platform, field, url).await
}

/// Where Apple's keys are.
pub(super) fn apple_source(config: &Config) -> Source {
    Source { issuer: APPLE.to_owned(), jwks_uri: Some(format!("{}/auth/keys", apple_base(config))) }
}

/// Where Apple is.
pub(super) fn apple_base(config: &Config) -> &str {
    base(&config.apple_url, APPLE)
}

fn base<'a>(instead: &'a str, usual: &'a str) -> &'a str {
    if instead.is_empty() { usual } else { instead.trim_end_matches('/') }
}

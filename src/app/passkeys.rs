//! What an app says of its passkeys: the domain they belong to, and the pages and programs that may ask for them.

use super::settings::wrong;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most origins, programs or fingerprints in one list.
const LIST_MAX: usize = 20;
/// Longest domain name, in bytes.
const DOMAIN_MAX: usize = 253;
/// The one host that may be asked for over plain HTTP: browsers take it for safe.
pub(super) const LOCAL: &str = "localhost";

/// The relying party of an app's passkeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasskeySettings)]
pub struct Passkeys {
    /// The domain to which passkeys are bound for good, e.g. `example.com`. Another one makes all present passkeys useless.
    #[schema(example = "example.com")]
    pub rp_id: String,
    /// Where passkeys may be used: `https://` origins of that domain, and `android:apk-key-hash:…` of Android apps.
    /// `http://localhost` with any port is for trials, with the domain `localhost`.
    #[schema(example = json!(["https://example.com"]))]
    pub origins: BTreeSet<String>,
    /// Apple apps that may use them, as `TEAM.bundle`; served at `/.well-known/apple-app-site-association`.
    #[serde(default)]
    #[schema(example = json!(["A1B2C3D4E5.com.example.app"]))]
    pub apple_app_ids: BTreeSet<String>,
    /// Android apps that may use them; served at `/.well-known/assetlinks.json`.
    #[serde(default)]
    pub android: Vec<AndroidApp>,
}

/// An Android app and the certificates that sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AndroidApp {
    /// Its package name.
    #[schema(example = "com.example.app")]
    pub package: String,
    /// SHA-256 of each certificate: 32 bytes in capital hex digits with colons.
    pub sha256_cert_fingerprints: BTreeSet<String>,
}

impl Passkeys {
    /// Refuses what no browser or phone would take.
    pub(super) fn check(&self) -> Result<()> {
        if !is_domain(&self.rp_id) {
            return wrong("passkeys.rp_id", "invalid", "expected a domain such as example.com, in lower case");
        }
        let lists = [
            ("origins", self.origins.len()),
            ("apple_app_ids", self.apple_app_ids.len()),
            ("android", self.android.len()),
            ("android", self.android.iter().map(|app| app.sha256_cert_fingerprints.len()).max().unwrap_or(0)),
        ];
        if let Some((field, _)) = lists.iter().find(|(_, len)| *len > LIST_MAX) {
            return wrong(&format!("passkeys.{field}"), "too_long", &format!("at most {LIST_MAX} of each"));
        }
        if !self.origins.iter().any(|origin| origin.starts_with("http")) {
            let example = format!("name at least one web origin, e.g. https://{}", self.rp_id);
            return wrong("passkeys.origins", "required", &example);
        }
        if !self.origins.iter().all(|origin| is_origin_of(&self.rp_id, origin)) {
            let example = format!(
                "expected https origins whose host is {0} or ends with .{0}, without a path, or android:apk-key-hash: and 43 \
                 characters of base64url",
                self.rp_id
            );
            return wrong("passkeys.origins", "invalid", &example);
        }
        if !self.apple_app_ids.iter().all(|id| is_apple_id(id)) {
            return wrong("passkeys.apple_app_ids", "invalid", "expected a team and a bundle such as A1B2C3D4E5.com.example.app");
        }
        let good = |app: &AndroidApp| {
            is_package(&app.package)
                && !app.sha256_cert_fingerprints.is_empty()
                && app.sha256_cert_fingerprints.iter().all(|text| is_fingerprint(text))
        };
        if !self.android.iter().all(good) {
            let example = "expected a package such as com.example.app and SHA-256 fingerprints such as 14:6D:E9:…, 32 bytes each";
            return wrong("passkeys.android", "invalid", example);
        }
        Ok(())
    }
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // A last label of digits is an address, which is no domain.
    let named = text.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    text == LOCAL || text.len() <= DOMAIN_MAX && text.contains('.') && text.split('.').all(label) && named
}

fn is_origin_of(rp_id: &str, origin: &str) -> bool {
    if let Some(hash) = origin.strip_prefix("android:apk-key-hash:") {
        // 32 bytes in base64url without padding.
        return hash.len() == 43 && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    }
    let (scheme, rest) = origin.split_once("://").unwrap_or_default();
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let below = host == rp_id || host.strip_suffix(rp_id).is_some_and(|rest| rest.ends_with('.'));
    let safe = scheme == "https" || scheme == "http" && rp_id == LOCAL && host == LOCAL;
    let port_is_good = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n > 0 && n.to_string() == p));
    below && safe && is_domain(host) && port_is_good
}

fn is_apple_id(text: &str) -> bool {
    let (team, bundle) = text.split_once('.').unwrap_or_default();
    let team_is_good = team.len() == 10 && team.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    team_is_good && (1..=155).contains(&bundle.len()) && bundle.bytes().all(plain)
}

fn is_package(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    text.len() <= 255 && text.contains('.') && text.split('.').all(part)
}

fn is_fingerprint(text: &str) -> bool {
    let byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    text.split(':').count() == 32 && text.split(':').all(byte)
}

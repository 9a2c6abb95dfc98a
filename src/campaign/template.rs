//! The words of an offer: one variant per locale, each a title, a body and data for the app.

use super::check::Check;
use crate::http::unique_keys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most locales of one template.
const VARIANTS_MAX: usize = 50;
/// Longest source of a title, body or data value, in bytes: no push can carry more than 4,096.
const SOURCE_BYTES_MAX: usize = 4_096;
/// Most entries of `data`.
const DATA_MAX: usize = 20;

/// What is said, per locale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The locale for those who have no variant of their own; one of `variants`.
    #[schema(max_length = 35)]
    pub fallback: String,
    /// The words by locale: `en`, `de-CH`.
    #[serde(deserialize_with = "unique_keys")]
    pub variants: BTreeMap<String, Variant>,
}

/// The words in one locale. All of them are minijinja templates over `user, device, event, moment, place, thing, offer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TemplateVariant)]
pub struct Variant {
    /// The first line.
    #[schema(min_length = 1, max_length = 4096)]
    pub title: String,
    /// The text.
    #[schema(min_length = 1, max_length = 4096)]
    pub body: String,
    /// For the app, never shown.
    #[serde(default, deserialize_with = "unique_keys", skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

impl Template {
    pub(super) fn check(&self, check: &mut Check) {
        check.count("template.variants", self.variants.len(), 1..=VARIANTS_MAX);
        if !self.variants.contains_key(&self.fallback) {
            check.refuse("template.fallback", "invalid", "must be the locale of one of the variants");
        }
        for (locale, variant) in &self.variants {
            let at = format!("template.variants.{locale}");
            if !is_locale(locale) {
                check.refuse(&at, "invalid", "must be a locale such as en or de-CH");
            }
            for (part, source) in [("title", &variant.title), ("body", &variant.body)] {
                if source.trim().is_empty() {
                    check.refuse(format!("{at}.{part}"), "required", "must not be blank");
                }
                check_length(check, format!("{at}.{part}"), source);
            }
            check.count(format!("{at}.data"), variant.data.len(), 0..=DATA_MAX);
            for (key, source) in &variant.data {
                if !is_data_key(key) {
                    check.refuse(
                        format!("{at}.data.{key}"),
                        "invalid",
                        "a key has 1 to 64 letters, digits, `_` or `-`, and is none that the gateways or Kairos use",
                    );
                }
                check_length(check, format!("{at}.data.{key}"), source);
            }
        }
    }
}

fn check_length(check: &mut Check, field: String, source: &str) {
    if source.len() > SOURCE_BYTES_MAX {
        check.refuse(field, "too_long", format!("must have at most {SOURCE_BYTES_MAX} bytes"));
    }
}

fn is_locale(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or("");
    text.len() <= 35
        && (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// FCM reserves some keys of `data`, APNs has `aps`, and ours begin with `kairos`.
fn is_data_key(key: &str) -> bool {
    (1..=64).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        && !["from", "message_type", "aps", "collapse_key"].contains(&key)
        && !["google", "gcm", "kairos"].iter().any(|taken| key.starts_with(taken))
}

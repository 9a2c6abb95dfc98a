//! The words of an offer: one content per locale.

use super::check::Check;
use crate::http::unique_keys;
use crate::people::device::own_word;
use crate::push::Content;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Most locales of one template.
pub const VARIANTS_MAX: usize = 50;
/// What is said of a key that is no locale.
pub const NO_LOCALE: &str = "must be a locale such as en or de-CH";

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

/// The words in one locale. Their texts are minijinja templates over `user, device, event, moment, place, thing, offer`.
pub type Variant = Content;

impl Template {
    pub(super) fn check(&self, check: &mut Check) {
        check.count("template.variants", self.variants.len(), 1..=VARIANTS_MAX);
        if !self.variants.contains_key(&self.fallback) {
            check.refuse("template.fallback", "invalid", "must be the locale of one of the variants");
        }
        let own: BTreeSet<_> = self.variants.values().map(|variant| own_word(variant.kind().word)).collect();
        if own.len() > 1 {
            let message = "kinds of push with tokens of their own, such as `voip`, are the same in all languages";
            check.refuse("template.variants", "invalid", message);
        }
        for (locale, variant) in &self.variants {
            let at = format!("template.variants.{locale}");
            if !is_locale(locale) {
                check.refuse(&at, "invalid", NO_LOCALE);
            }
            for fault in variant.check(&at) {
                check.refuse(fault.field, fault.code, fault.message);
            }
        }
    }
}

/// Whether a template may name its words so.
pub fn is_locale(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or("");
    text.len() <= 35
        && (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && parts.all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

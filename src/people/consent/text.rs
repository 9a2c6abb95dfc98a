//! A purpose's published text: which words are shown in which language and jurisdiction, and how long a grant for them counts. Pure.

use ring::digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A published text of a purpose.
#[derive(Debug, Clone)]
pub struct Text {
    /// The purpose's key.
    pub purpose: String,
    /// The version's name.
    pub version: String,
    /// The text by locale.
    pub texts: BTreeMap<String, String>,
    /// Whether grants for older versions stop to count.
    pub re_ask: bool,
    /// When it was published; 0 for the built-in texts.
    pub published_ms: i64,
    /// How long a grant for it counts, in milliseconds; none: until it is withdrawn.
    pub valid_ms: Option<i64>,
    /// What differs by jurisdiction: a country (`DE`) or a part of one (`US-CA`).
    pub jurisdictions: BTreeMap<String, Local>,
}

/// What differs in one jurisdiction; what is left out is as elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The text by locale.
    #[serde(default, deserialize_with = "crate::http::unique_keys", skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, String>,
    /// How long a grant counts, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60_000)]
    pub valid_ms: Option<i64>,
}

/// The words that a person has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a> {
    /// The language of the text.
    pub language: &'a str,
    /// The text.
    pub text: &'a str,
}

impl Words<'_> {
    /// SHA-256 of the text, in hex: proof of what was shown.
    pub fn hash(&self) -> String {
        digest::digest(&digest::SHA256, self.text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Text {
    /// What a jurisdiction says differently: its own word, then its country's.
    fn local<'a>(&'a self, jurisdiction: Option<&'a str>) -> impl Iterator<Item = &'a Local> {
        let part = jurisdiction.into_iter();
        let country = jurisdiction.and_then(|code| code.split_once('-')).map(|(country, _)| country);
        part.chain(country).filter_map(|code| self.jurisdictions.get(code))
    }

    /// The text by locale in a jurisdiction.
    pub fn texts_in<'a>(&'a self, jurisdiction: Option<&'a str>) -> &'a BTreeMap<String, String> {
        self.local(jurisdiction).map(|local| &local.texts).find(|texts| !texts.is_empty()).unwrap_or(&self.texts)
    }

    /// How long a grant counts in a jurisdiction, in milliseconds.
    pub fn valid_ms_in(&self, jurisdiction: Option<&str>) -> Option<i64> {
        self.local(jurisdiction).find_map(|local| local.valid_ms).or(self.valid_ms)
    }

    /// The words for somebody who reads this language: the nearest there is, else those of the app's own language, else
    /// the first.
    pub fn shown<'a>(&'a self, jurisdiction: Option<&'a str>, locales: [Option<&str>; 2]) -> Option<Words<'a>> {
        let texts = self.texts_in(jurisdiction);
        let found = locales.into_iter().flatten().find_map(|locale| nearest(texts, locale));
        found.or_else(|| texts.iter().next()).map(|(language, text)| Words { language, text })
    }
}

/// The text for a language tag: its own, else that of the tag without its last parts, else any of the same language.
fn nearest<'a>(texts: &'a BTreeMap<String, String>, locale: &str) -> Option<(&'a String, &'a String)> {
    let mut tag = locale;
    loop {
        if let Some(found) = texts.iter().find(|(key, _)| key.eq_ignore_ascii_case(tag)) {
            return Some(found);
        }
        match tag.rsplit_once('-') {
            Some((shorter, _)) => tag = shorter,
            None => break,
        }
    }
    texts.iter().find(|(key, _)| key.split('-').next().is_some_and(|language| language.eq_ignore_ascii_case(tag)))
}

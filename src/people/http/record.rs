//! A record of the consent ledger as it is shown: the choice, the words behind it, and its proof.

use crate::clock::Time;
use crate::http::FreeJson;
use crate::id::{ConsentId, PartnerId};
use crate::people::consent::{self, Channel, Extent, Record, Row, Shown, Source};
use serde::Serialize;

/// A record of the ledger.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = Consent)]
pub struct ConsentOut {
    id: ConsentId,
    purpose: String,
    granted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<PartnerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_version: Option<String>,
    /// The language of the text that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    /// SHA-256 of that text, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice_hash: Option<String>,
    /// That text, in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jurisdiction: Option<String>,
    /// How it was collected: what the evidence names as `method`, else `app`, `server` or `gpc`.
    method: String,
    /// What the evidence names as `app_version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    /// Whether a guardian made it for somebody who is not of age.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    guardian: bool,
    evidence: FreeJson,
    /// Who made it known: `user`, `gpc` for their Global Privacy Control, or `server:` and the key.
    source: String,
    at: Time,
    /// From then on a grant no longer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
}

impl From<Record> for ConsentOut {
    fn from(record: Record) -> Self {
        let (method, app_version) = (method_of(&record), named(&record, "app_version"));
        let Row { id, extent: Extent { purpose, channel, partner }, granted, text_version, expires_ms, guardian, .. } =
            record.row;
        let Shown { language, hash: notice_hash, jurisdiction } = record.shown;
        let (evidence, source, at) = (record.evidence, record.source.to_string(), Time(record.at_ms));
        let (text, expires_at) = (None, expires_ms.map(Time));
        Self {
            id,
            purpose,
            granted,
            partner,
            channel,
            text_version,
            language,
            notice_hash,
            text,
            jurisdiction,
            method,
            app_version,
            guardian,
            evidence,
            source,
            at,
            expires_at,
        }
    }
}

/// What a record's evidence names under a key.
pub(super) fn named(record: &Record, key: &str) -> Option<String> {
    record.evidence.0.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
}

/// How a choice was collected.
pub(super) fn method_of(record: &Record) -> String {
    named(record, "method").unwrap_or_else(|| {
        let word = match record.source {
            Source::User => "app",
            Source::Server(_) | Source::Operator(_) | Source::Seed => "server",
            Source::Gpc => "gpc",
        };
        word.to_owned()
    })
}

/// The text that a record was made for, in the language in which it was shown.
pub(super) fn text_of(record: &Record, texts: &[consent::Text]) -> Option<String> {
    let version = record.row.text_version.as_deref()?;
    let text = texts.iter().find(|text| text.purpose == record.row.extent.purpose && text.version == version)?;
    text.texts_in(record.shown.jurisdiction.as_deref()).get(record.shown.language.as_deref()?).cloned()
}

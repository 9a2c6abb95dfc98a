//! Every setting, read once at start: flag > environment > file > `config.default.toml`.

use crate::error::{Error, Result};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The manual: every setting with its default.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// All settings. Names, units and meaning: `config.default.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented in config.default.toml, the manual")]
pub struct Config {
    pub listen: String,
    pub public_url: String,
    pub data_dir: PathBuf,
    pub database_url: Secret,
    pub redis_url: Secret,
    pub master_key: Secret,
    pub master_key_file: String,
    pub trusted_proxies: String,
    pub apns_url: String,
    pub apns_channels_url: String,
    pub fcm_url: String,
    pub webpush_url: String,
    pub webpush_hosts: String,
    pub apple_url: String,
    pub google_url: String,
    pub ca_file: String,
    pub smtp_url: Secret,
    pub mail_from: String,
    pub smtp_timeout_ms: u64,
    pub smtp_connections: usize,
    pub outbound_allow: String,
    pub log: String,
    pub log_format: LogFormat,
    pub body_limit_bytes: usize,
    pub events_per_call_limit: usize,
    pub import_body_limit_bytes: usize,
    pub import_line_limit_bytes: usize,
    pub import_lines_limit: i64,
    pub import_jobs_limit: i64,
    pub future_tolerance_ms: i64,
    pub access_token_life_s: i64,
    pub refresh_token_life_days: i64,
    pub signing_key_days: u32,
    pub hash_threads: usize,
    pub sign_in_per_account_per_minute: u32,
    pub sign_in_per_address_per_minute: u32,
    pub requests_per_key_per_second: u32,
    pub push_latency_ms_initial: i64,
    pub gateway_timeout_ms: u64,
    pub gateway_streams: usize,
    pub gateway_connections: usize,
    pub fcm_quota_per_minute: u32,
    pub fcm_ramp_s: u32,
    pub retry_base_ms: i64,
    pub retry_limit_ms: i64,
    pub webhook_timeout_ms: u64,
    pub leave_s: u64,
    pub drain_s: u64,
    pub http_threads: usize,
    pub db_readers: usize,
    pub db_writers: usize,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object per line.
    Json,
}

/// A text that never shows in logs, errors or `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; call it where it is used, keep it nowhere.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(if self.0.is_empty() { "" } else { "(secret)" })
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(secret)" })
    }
}

impl Config {
    /// Reads the settings; `flags` are those given on the command line, by setting name.
    ///
    /// # Errors
    /// One line that names the setting and what to set.
    pub fn load(file: Option<&Path>, flags: &BTreeMap<String, String>) -> Result<Self> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(Error::broken(format!("there is no settings file {}", file.display())));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        // KAIROS_TEST_* belongs to the test suite, not to the program.
        let env = Env::prefixed("KAIROS_").filter(|name| !name.starts_with("test_"));
        // Numbers and lists are read from text as they are from the environment.
        let flags: BTreeMap<&str, Value> =
            flags.iter().map(|(name, text)| (name.as_str(), text.parse().unwrap_or_else(|never| match never {}))).collect();
        let figment = figment.merge(env).merge(Serialized::defaults(flags));
        let config: Self = figment.extract().map_err(|e| {
            let name = e.path.last().map_or_else(String::new, |key| format!("KAIROS_{}: ", key.to_uppercase()));
            Error::broken(format!("{name}{}", e.kind))
        })?;
        config.checked()
    }

    /// The manual, with every value as it is in force here; secrets are not shown.
    pub fn manual(&self) -> String {
        let present = serde_json::to_value(self).unwrap_or_default();
        let line = |line: &str| {
            let parts = line.split_once(" = ").and_then(|(name, usual)| Some((name, usual, present.get(name)?.to_string())));
            match parts {
                Some((name, usual, value)) if value != usual => format!("{name} = {value} # default: {usual}\n"),
                _ => format!("{line}\n"),
            }
        };
        DEFAULTS.lines().map(line).collect()
    }

    fn checked(mut self) -> Result<Self> {
        if self.listen.parse::<std::net::SocketAddr>().is_err() {
            return Err(Error::broken("KAIROS_LISTEN: expected an address and a port such as 127.0.0.1:8080"));
        }
        if self.public_url.is_empty() {
            self.public_url = format!("http://{}", self.listen);
        }
        self.public_url = self.public_url.trim_end_matches('/').to_owned();
        if !self.public_url.starts_with("http://") && !self.public_url.starts_with("https://") {
            return Err(Error::broken("KAIROS_PUBLIC_URL: expected an http:// or https:// URL"));
        }
        if self.database_url.expose().is_empty() {
            self.database_url = Secret::new(format!("sqlite://{}", self.data_dir.join("kairos.db").display()));
        }
        for (name, value) in [
            ("db_readers", self.db_readers),
            ("gateway_streams", self.gateway_streams),
            ("gateway_connections", self.gateway_connections),
            ("smtp_connections", self.smtp_connections),
            ("webhook_timeout_ms", usize::try_from(self.webhook_timeout_ms).unwrap_or(usize::MAX)),
        ] {
            if value == 0 {
                return Err(Error::broken(format!("KAIROS_{}: must be at least 1", name.to_uppercase())));
            }
        }
        Ok(self)
    }
}

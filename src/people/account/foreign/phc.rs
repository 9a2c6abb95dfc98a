//! Strings of the form `$scheme$v=19$a=1,b=2$salt$hash` (the PHC's), taken apart.

use super::hash::invalid;
use crate::error::Result;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// With padding or without: libraries do as they like.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// See the module.
pub(super) struct Phc<'t> {
    pub(super) scheme: &'t str,
    pub(super) version: Option<u32>,
    parameters: Vec<(&'t str, u32)>,
    salt: &'t str,
    hash: &'t str,
}

impl<'t> Phc<'t> {
    /// Takes a text apart; no parameter may come twice.
    ///
    /// # Errors
    /// 400 that names `password_hash`.
    pub(super) fn read(text: &'t str) -> Result<Self> {
        let wrong = || invalid("is no hash: expected the text that the other system kept, such as $2b$10$…");
        let mut parts: Vec<&str> = text.strip_prefix('$').ok_or_else(wrong)?.split('$').collect();
        let version = match parts.get(1).and_then(|part| part.strip_prefix("v=")) {
            Some(number) => {
                let version = number.parse().map_err(|_| wrong())?;
                parts.remove(1);
                Some(version)
            }
            None => None,
        };
        let [scheme, parameters, salt, hash] = parts[..] else { return Err(wrong()) };
        let mut read: Vec<(&str, u32)> = Vec::new();
        for parameter in parameters.split(',') {
            let (name, number) = parameter.split_once('=').ok_or_else(wrong)?;
            if !number.bytes().all(|b| b.is_ascii_digit()) || read.iter().any(|(known, _)| *known == name) {
                return Err(wrong());
            }
            read.push((name, number.parse().map_err(|_| invalid("has a parameter that is too large"))?));
        }
        Ok(Self { scheme, version, parameters: read, salt, hash })
    }

    /// A parameter that there has to be.
    ///
    /// # Errors
    /// 400 that names `password_hash`.
    pub(super) fn number(&self, name: &str) -> Result<u32> {
        let found = self.parameters.iter().find(|(known, _)| *known == name);
        found.map(|(_, number)| *number).ok_or_else(|| invalid(&format!("lacks the parameter {name}")))
    }

    /// Whether there is such a parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(known, _)| *known == name)
    }

    /// Refuses parameters that are not known: they would mean another hash.
    ///
    /// # Errors
    /// 400 that names `password_hash`.
    pub(super) fn only(&self, names: &[&str]) -> Result<()> {
        if self.parameters.iter().all(|(name, _)| names.contains(name)) {
            return Ok(());
        }
        Err(invalid(&format!("has a parameter other than {}", names.join(", "))))
    }

    pub(super) fn salt(&self) -> Result<Vec<u8>> {
        decoded(self.salt)
    }

    pub(super) fn hash(&self) -> Result<Vec<u8>> {
        decoded(self.hash)
    }
}

/// The bytes behind base64.
///
/// # Errors
/// 400 that names `password_hash`.
pub(super) fn decoded(text: &str) -> Result<Vec<u8>> {
    BASE64.decode(text).map_err(|_| invalid("has a part that is no base64"))
}

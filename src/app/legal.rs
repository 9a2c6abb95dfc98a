//! Who answers for the personal data of an app, under which law, and from which age on people consent for themselves.

use crate::error::{Error, Result};
use crate::http::{check_text, unique_keys};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ages that a gate may ask for, in years.
const YEARS: std::ops::RangeInclusive<u8> = 1..=25;
/// Most jurisdictions with an age of their own.
const JURISDICTIONS_MAX: usize = 100;

/// Who answers for the personal data, as receipts name them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// The legal name.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 400)]
    pub address: Option<String>,
    /// Where they are written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 254)]
    pub email: Option<String>,
    /// Their site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 400)]
    pub url: Option<String>,
    /// Their privacy notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 400)]
    pub privacy_notice_url: Option<String>,
}

/// From which age on people consent for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgeGate {
    /// In years.
    #[schema(minimum = 1, maximum = 25)]
    pub minimum_years: u8,
    /// Where it is another: by country (`DE`) or a part of one (`US-CA`).
    #[serde(default, deserialize_with = "unique_keys")]
    pub per_jurisdiction: BTreeMap<String, u8>,
}

impl AgeGate {
    /// The age in a jurisdiction, in years: its own, else its country's, else everybody's.
    pub fn minimum(&self, jurisdiction: Option<&str>) -> i64 {
        let country = jurisdiction.and_then(|code| code.split_once('-')).map(|(country, _)| country);
        let own = [jurisdiction, country].into_iter().flatten().find_map(|code| self.per_jurisdiction.get(code));
        i64::from(own.copied().unwrap_or(self.minimum_years))
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.per_jurisdiction.len() > JURISDICTIONS_MAX {
            let message = format!("at most {JURISDICTIONS_MAX} jurisdictions");
            return Err(Error::invalid("settings.age_gate.per_jurisdiction", "too_long", message));
        }
        for code in self.per_jurisdiction.keys() {
            check_jurisdiction("settings.age_gate.per_jurisdiction", code)?;
        }
        if [self.minimum_years].iter().chain(self.per_jurisdiction.values()).all(|years| YEARS.contains(years)) {
            return Ok(());
        }
        let message = format!("an age is {} to {} years; null for no gate", YEARS.start(), YEARS.end());
        Err(Error::invalid("settings.age_gate", "out_of_range", message))
    }
}

impl Controller {
    pub(super) fn check(&self) -> Result<()> {
        check_text("settings.controller.name", &self.name, 200)?;
        for (field, value, limit) in [("address", &self.address, 400), ("email", &self.email, 254)] {
            value.as_deref().map_or(Ok(()), |text| check_text(&format!("settings.controller.{field}"), text, limit))?;
        }
        for (field, value) in [("url", &self.url), ("privacy_notice_url", &self.privacy_notice_url)] {
            let Some(url) = value else { continue };
            check_text(&format!("settings.controller.{field}"), url, 400)?;
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return Err(Error::invalid(format!("settings.controller.{field}"), "invalid", "expected an http or https URL"));
            }
        }
        Ok(())
    }
}

/// Whether a text names a jurisdiction: a country of ISO 3166-1 such as `DE`, or a part of one such as `US-CA`, by shape.
///
/// # Errors
/// 400 that names the field.
pub fn check_jurisdiction(field: &str, code: &str) -> Result<()> {
    let (country, part) = code.split_once('-').unwrap_or((code, "X"));
    let good = country.len() == 2
        && country.bytes().all(|b| b.is_ascii_uppercase())
        && (1..=3).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if good {
        Ok(())
    } else {
        Err(Error::invalid(field, "invalid", "expected a country such as DE, or a part of one such as US-CA"))
    }
}

//! Declared types: JSON Schemas compiled once and kept, without any network.

use super::item::Item;
use super::store;
use crate::error::{Error, FieldError, Result};
use crate::id::AppId;
use crate::platform::Platform;
use jsonschema::{PatternOptions, Validator};
use moka::sync::Cache as Map;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Published after a commit that changed an app's types; the payload is the app's id.
pub const TYPES_TOPIC: &str = "event_types";

/// Most references of a schema: at worst they multiply to about 3^(n/3) visits.
const REFERENCES_MAX: usize = 20;
/// Largest schema, in bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 65_536;
/// Compiled schemas kept.
const KEPT: u64 = 10_000;
/// Another node's change is noticed after this, whatever happens, in seconds.
const STALE_S: u64 = 60;
/// Most faults told of one event.
const ERRORS_MAX: usize = 10;

/// The compiled schemas of all apps; cheap to clone.
#[derive(Clone)]
pub struct Schemas {
    compiled: Map<(AppId, String), Option<Arc<Validator>>>,
    platform: Platform,
}

impl Schemas {
    /// Keeps nothing yet; forgets what it keeps when types change.
    pub fn open(platform: &Platform) -> Self {
        let compiled = Map::builder().max_capacity(KEPT).time_to_live(Duration::from_secs(STALE_S)).build();
        let kept: Map<(AppId, String), Option<Arc<Validator>>> = compiled.clone();
        platform.cache.subscribe(TYPES_TOPIC, move |_| kept.invalidate_all());
        Self { compiled, platform: platform.clone() }
    }

    /// Checks the properties of events against their types; answers what is wrong with each.
    ///
    /// # Errors
    /// What the database says.
    pub async fn check<'a>(&self, app: AppId, items: impl Iterator<Item = &'a Item> + Clone) -> Result<Vec<Vec<FieldError>>> {
        let kinds: BTreeSet<&str> = items.clone().map(|item| item.kind.as_str()).collect();
        let missing: Vec<String> =
            kinds.into_iter().filter(|kind| !self.compiled.contains_key(&(app, (*kind).to_owned()))).map(str::to_owned).collect();
        if !missing.is_empty() {
            let wanted = missing.clone();
            let rows = self.platform.store.read(move |conn| store::types(conn, app, &wanted)).await?;
            for kind in missing {
                let schema = rows.iter().find(|row| row.type_ == kind).and_then(|row| row.json_schema.as_ref());
                let validator = schema.map(|doc| compile(&doc.0)).transpose()?.map(Arc::new);
                self.compiled.insert((app, kind), validator);
            }
        }
        Ok(items.map(|item| self.faults(app, item)).collect())
    }

    fn faults(&self, app: AppId, item: &Item) -> Vec<FieldError> {
        let Some(Some(validator)) = self.compiled.get(&(app, item.kind.clone())) else { return Vec::new() };
        let properties = Value::Object(item.properties.clone());
        let fault = |error: jsonschema::ValidationError<'_>| FieldError {
            field: format!("properties{}", error.instance_path().to_string().replace('/', ".")),
            code: "schema",
            message: error.masked().to_string(),
        };
        validator.iter_errors(&properties).take(ERRORS_MAX).map(fault).collect()
    }
}

/// Compiles a schema. References outside it, and patterns that could take long, are refused.
///
/// # Errors
/// 400 that names `schema`.
pub(super) fn compile(schema: &Value) -> Result<Validator> {
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(Error::invalid("schema", "too_long", format!("at most {SCHEMA_BYTES_MAX} bytes of JSON")));
    }
    // Each reference can double the work of the one before; so many can be followed in any arrangement.
    if references(schema) > REFERENCES_MAX {
        return Err(Error::invalid("schema", "out_of_range", format!("at most {REFERENCES_MAX} references")));
    }
    jsonschema::options()
        .offline()
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .build(schema)
        .map_err(|error| Error::invalid("schema", "invalid", error.to_string()))
}

/// How many references a schema has. Its depth is bounded by the reader of free JSON.
fn references(schema: &Value) -> usize {
    match schema {
        Value::Object(map) => {
            map.iter().map(|(key, value)| usize::from(key.ends_with("Ref") || key == "$ref") + references(value)).sum()
        }
        Value::Array(items) => items.iter().map(references).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

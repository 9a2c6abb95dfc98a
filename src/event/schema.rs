//! Declared types: JSON Schemas compiled once and kept, without any network.

use super::item::Item;
use super::store;
use crate::error::{Error, FieldError, Result};
use crate::id::AppId;
use crate::platform::Platform;
use crate::store::Store;
use jsonschema::{PatternOptions, Validator};
use moka::sync::Cache as Map;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Published after a commit that changed an app's types; the payload is the app's id.
pub const TYPES_TOPIC: &str = "event_types";

/// Most references of a schema: at worst they multiply to about 3^(n/3) visits.
const REFERENCES_MAX: usize = 20;
/// Largest schema, in bytes of JSON.
const SCHEMA_BYTES_MAX: usize = 65_536;
/// Compiled schemas kept, and apps whose types are known.
const KEPT: u64 = 10_000;
/// Another node's change is noticed after this, whatever happens, in seconds.
const STALE_S: u64 = 60;
/// Most faults told of one event.
const ERRORS_MAX: usize = 10;

/// An event that could be read, or what is wrong with it.
type Parsed = Result<Item, Vec<FieldError>>;

/// The compiled schemas of all apps; cheap to clone.
#[derive(Clone)]
pub struct Schemas(Arc<Inner>);

struct Inner {
    /// Of each app the names of the types that have a schema.
    declared: Map<AppId, Arc<HashSet<String>>>,
    compiled: Map<(AppId, String), Arc<Validator>>,
    /// Grows with every news: what was read before is not kept after it.
    news: AtomicU64,
    store: Store,
}

impl Schemas {
    /// Keeps nothing yet; forgets what it keeps when types change.
    pub fn open(platform: &Platform) -> Self {
        let stale = Duration::from_secs(STALE_S);
        let inner = Arc::new(Inner {
            declared: Map::builder().max_capacity(KEPT).time_to_live(stale).build(),
            compiled: Map::builder().max_capacity(KEPT).time_to_live(stale).build(),
            news: AtomicU64::new(0),
            store: platform.store.clone(),
        });
        let weak = Arc::downgrade(&inner);
        platform.cache.subscribe(TYPES_TOPIC, move |_| {
            if let Some(inner) = weak.upgrade() {
                inner.forget();
            }
        });
        Self(inner)
    }

    /// Checks the properties of the events that could be read against their types.
    ///
    /// # Errors
    /// What the database says.
    pub async fn check(&self, app: AppId, mut items: Vec<Parsed>) -> Result<Vec<Parsed>> {
        let declared = self.0.declared(app).await?;
        let kinds = items.iter().flatten().map(|item| &item.kind).filter(|kind| declared.contains(*kind)).cloned().collect();
        let validators = self.0.validators(app, kinds).await?;
        if validators.is_empty() {
            return Ok(items);
        }
        // A schema may take its time over an event: not on a thread that others wait for.
        let judge = move || {
            for item in &mut items {
                let found = item.as_ref().ok().and_then(|item| Some(faults(validators.get(&item.kind)?, item)));
                if let Some(errors) = found.filter(|errors| !errors.is_empty()) {
                    *item = Err(errors);
                }
            }
            items
        };
        tokio::task::spawn_blocking(judge).await.map_err(Error::broken)
    }
}

impl Inner {
    async fn declared(&self, app: AppId) -> Result<Arc<HashSet<String>>> {
        if let Some(known) = self.declared.get(&app) {
            return Ok(known);
        }
        let news = self.news.load(Ordering::SeqCst);
        let names = Arc::new(self.store.read(move |conn| store::types_with_schema(conn, app)).await?);
        self.declared.insert(app, Arc::clone(&names));
        self.still(news);
        Ok(names)
    }

    async fn validators(&self, app: AppId, kinds: BTreeSet<String>) -> Result<HashMap<String, Arc<Validator>>> {
        let known = |kind: String| match self.compiled.get(&(app, kind.clone())) {
            Some(validator) => Ok((kind, validator)),
            None => Err(kind),
        };
        let (known, missing): (Vec<_>, Vec<_>) = kinds.into_iter().map(known).partition(Result::is_ok);
        let mut found: HashMap<String, Arc<Validator>> = known.into_iter().flatten().collect();
        let missing: Vec<String> = missing.into_iter().filter_map(Result::err).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let news = self.news.load(Ordering::SeqCst);
        let rows = self.store.read(move |conn| store::types(conn, app, &missing)).await?;
        let compile_all = move || rows.into_iter().filter_map(|row| Some((row.type_, compile(&row.json_schema?.0)))).collect();
        let compiled: Vec<(String, Result<Validator>)> = tokio::task::spawn_blocking(compile_all).await.map_err(Error::broken)?;
        for (kind, validator) in compiled {
            let validator = Arc::new(validator?);
            self.compiled.insert((app, kind.clone()), Arc::clone(&validator));
            found.insert(kind, validator);
        }
        self.still(news);
        Ok(found)
    }

    /// Forgets what was kept just now when it was read before the latest news.
    fn still(&self, news: u64) {
        if self.news.load(Ordering::SeqCst) != news {
            self.forget();
        }
    }

    fn forget(&self) {
        self.news.fetch_add(1, Ordering::SeqCst);
        self.declared.invalidate_all();
        self.compiled.invalidate_all();
    }
}

fn faults(validator: &Validator, item: &Item) -> Vec<FieldError> {
    let properties = Value::Object(item.properties.clone());
    let fault = |error: jsonschema::ValidationError<'_>| FieldError {
        field: format!("properties{}", error.instance_path().to_string().replace('/', ".")),
        code: "schema",
        message: error.masked().to_string(),
    };
    validator.iter_errors(&properties).take(ERRORS_MAX).map(fault).collect()
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

//! What a rule sees: one root with the functions, a child per event with the facts, a child of that per device.

use cel::common::types::{CelBool, CelString};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The names that rules and templates may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The person.
    User,
    /// One of the person's devices.
    Device,
    /// What happened.
    Event,
    /// The opportunity.
    Moment,
    /// Where.
    Place,
    /// The thing that it happened to.
    Thing,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::User, Self::Device, Self::Event, Self::Moment, Self::Place, Self::Thing];

    /// As it is written in a rule.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Device => "device",
            Self::Event => "event",
            Self::Moment => "moment",
            Self::Place => "place",
            Self::Thing => "thing",
        }
    }

    /// Its properties.
    pub fn properties(self) -> &'static [&'static str] {
        match self {
            Self::User => &["id", "external_id", "anonymous", "locale", "time_zone", "attributes"],
            Self::Device => &["id", "platform", "locale", "time_zone", "app_version", "push_permission", "last_seen_at"],
            Self::Event => &["id", "type", "source", "occurred_at", "received_at", "partner_id", "location", "properties"],
            Self::Moment => &["kind", "key", "opened_at", "closes_at"],
            Self::Place => &["id", "key", "name", "tags"],
            Self::Thing => &["id", "key", "class", "properties"],
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }
}

/// How many compiled patterns are kept, over all apps.
const PATTERNS_KEPT: u64 = 2_000;
/// The largest compiled pattern, in bytes: repetitions of repetitions end here.
const PATTERN_COMPILED_BYTES_MAX: usize = 64 << 10;
/// The name under which a checked `matches` runs.
pub(super) const MATCHES_KEPT: &str = "matches_kept";

static PATTERNS: LazyLock<moka::sync::Cache<String, Arc<regex::Regex>>> = LazyLock::new(|| moka::sync::Cache::new(PATTERNS_KEPT));

/// Making the standard functions costs 36 µs; every scope shares these.
static ROOT: LazyLock<Context<'static, 'static>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // The crate's own `matches` compiles its pattern at every call.
    let added = cel::add_member_overload!(env, fn matches_kept: (CelString, CelString) -> Result<CelBool>,
        name = "matches_kept");
    debug_assert!(added.is_ok(), "the name is ours alone");
    let mut root = Context::with_env(Arc::new(env));
    for name in Name::ALL {
        root.add_variable_from_value(name.word(), Value::from(HashMap::<String, Value>::new()));
    }
    root
});

/// Reads a pattern, within the limits.
pub(super) fn pattern(source: &str) -> Result<Arc<regex::Regex>, String> {
    if let Some(found) = PATTERNS.get(source) {
        return Ok(found);
    }
    let made = regex::RegexBuilder::new(source)
        .size_limit(PATTERN_COMPILED_BYTES_MAX)
        .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
        .nest_limit(20)
        .build()
        .map_err(|e| e.to_string())?;
    let made = Arc::new(made);
    PATTERNS.insert(source.to_owned(), Arc::clone(&made));
    Ok(made)
}

fn matches_kept(this: &CelString<'_>, source: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    match pattern(source.inner()) {
        Ok(pattern) => Ok(CelBool::from(pattern.is_match(this.inner()))),
        Err(_) => Err(ExecutionError::function_error("matches", "bad pattern")),
    }
}

/// What a rule sees.
pub struct Scope<'p>(Context<'p, 'static>);

impl Scope<'static> {
    /// A scope in which nothing is known yet.
    pub fn new() -> Self {
        Self(ROOT.new_inner_scope())
    }
}

impl Default for Scope<'static> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'p> Scope<'p> {
    /// A scope that knows all that this one knows, and more: say, one device.
    pub fn child<'b>(&'b self) -> Scope<'b> {
        Scope(self.0.new_inner_scope())
    }

    /// Says what a name stands for; null stands for an object without properties.
    pub fn set(&mut self, name: Name, facts: &serde_json::Value) {
        let value = match facts {
            serde_json::Value::Object(_) => to_cel(facts),
            _ => Value::from(HashMap::<String, Value>::new()),
        };
        self.0.add_variable_from_value(name.word(), value);
    }

    pub(super) fn context(&self) -> &Context<'p, 'static> {
        &self.0
    }
}

/// JSON as CEL sees it. Every number is a double, so that 3 and 3.5 are of one type; nulls are left out.
fn to_cel(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        serde_json::Value::Object(map) => {
            let known = map.iter().filter(|(_, value)| !value.is_null());
            Value::from(known.map(|(key, value)| (key.clone(), to_cel(value))).collect::<HashMap<String, Value>>())
        }
    }
}

#[expect(dead_code, reason = "says to the compiler that a scope may be used where rules run: on any thread")]
fn scopes_may_travel() {
    fn may<T: Send + Sync>() {}
    may::<Scope<'static>>();
    may::<CowVal<'static, 'static>>();
}

//! The template engine, tamed: minijinja bounds steps, this bounds memory.
//!
//! A template has no assignments, macros or inclusions, few loops and joins, filters that never multiply or end where an
//! output does, and an output that ends at what a push can carry.

use super::url;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, filters, tests};
use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;

/// How many steps one text may take.
pub(super) const FUEL: u64 = 20_000;
/// How deep loops may call themselves.
const RECURSION_MAX: usize = 10;
/// Longest rendered text, in bytes: what a push can carry at most.
pub(super) const OUTPUT_BYTES_MAX: usize = 4_096;
/// Longest text of the facts that a template sees, in bytes; a longer one is as good as missing.
const FACT_BYTES_MAX: usize = 4_096;
/// What is said of one that is longer.
pub(super) const TOO_LONG: &str = "it is longer than a push can carry";
/// Most `~` and `+` of a text.
const JOINS_MAX: usize = 32;
/// Most loops of a text.
const LOOPS_MAX: usize = 3;
/// The words that may open a `{% … %}`.
const STATEMENTS: [&str; 7] = ["if", "elif", "else", "endif", "for", "endfor", "raw"];

/// An engine without templates; a clone of it shares its filters.
pub(super) static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(RECURSION_MAX);
    // A missing name must silence, not print a gap; `if` and `default` may ask.
    engine.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    engine.set_debug(false);
    engine.set_auto_escape_callback(url::escape_of);
    engine.set_formatter(url::write_value);
    engine.add_filter("upper", filters::upper);
    engine.add_filter("lower", filters::lower);
    engine.add_filter("title", filters::title);
    engine.add_filter("capitalize", filters::capitalize);
    engine.add_filter("length", filters::length);
    engine.add_filter("default", filters::default);
    engine.add_filter("abs", filters::abs);
    engine.add_filter("int", filters::int);
    engine.add_filter("float", filters::float);
    engine.add_filter("round", filters::round);
    engine.add_filter("first", filters::first);
    engine.add_filter("last", filters::last);
    engine.add_filter("safe", filters::safe);
    engine.add_filter("urlencode", url::urlencode);
    engine.add_test("defined", tests::is_defined);
    engine.add_test("undefined", tests::is_undefined);
    engine.add_test("number", tests::is_number);
    engine.add_test("string", tests::is_string);
    engine.add_test("boolean", tests::is_boolean);
    engine
});

/// Refuses what could cost memory out of all proportion. Reads the bare text, so that nothing can hide from it.
pub(super) fn tame(source: &str) -> Result<(), String> {
    let Some(start) = source.find("{{").into_iter().chain(source.find("{%")).min() else { return Ok(()) };
    let tags = &source[start..];
    if tags.contains('*') {
        return Err("`*` is not allowed after the first tag".into());
    }
    if tags.bytes().filter(|b| matches!(b, b'~' | b'+')).count() > JOINS_MAX {
        return Err(format!("at most {JOINS_MAX} of `~` and `+` are allowed after the first tag"));
    }
    let words = tags.split("{%").skip(1).map(|rest| {
        let rest = rest.trim_start_matches(['-', '+']).trim_start();
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("")
    });
    let mut loops = 0;
    for word in words {
        if !STATEMENTS.contains(&word) && word != "endraw" {
            return Err(format!("`{{% {word} %}}` is not allowed; {} are", STATEMENTS.join(", ")));
        }
        loops += usize::from(word == "for");
    }
    if loops > LOOPS_MAX {
        return Err(format!("at most {LOOPS_MAX} loops are allowed"));
    }
    Ok(())
}

/// What the engine says, without values, which may be somebody's.
pub(super) fn explain(error: &minijinja::Error) -> String {
    let line = error.line().map(|n| format!(" in line {n}")).unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::UndefinedError => "a value is missing; `default` or `if` guard it",
        ErrorKind::OutOfFuel => "it takes too many steps",
        ErrorKind::WriteFailure => TOO_LONG,
        ErrorKind::SyntaxError => return format!("it cannot be read: {}{line}", error.detail().unwrap_or("")),
        ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => {
            return format!("{}{line}", error.detail().unwrap_or("it uses a name that there is not"));
        }
        _ => "a value is not of the type it is taken for",
    };
    format!("{what}{line}")
}

/// A writer that ends at what a push can carry.
pub(super) struct Bounded(pub(super) Vec<u8>);

impl Bounded {
    /// For one text, which begins here.
    pub(super) fn new() -> Self {
        url::begin();
        Self(Vec::with_capacity(128))
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        url::wrote(bytes);
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A JSON object as templates see it.
pub(super) type Properties = BTreeMap<String, Value>;

/// JSON as templates see it: whole numbers are whole, nulls are missing.
pub(super) fn to_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::UNDEFINED,
        serde_json::Value::Bool(b) => Value::from(*b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(whole) => Value::from(whole),
            None => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) if text.len() > FACT_BYTES_MAX => Value::UNDEFINED,
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(to_value).collect::<Vec<Value>>().into(),
        serde_json::Value::Object(map) => {
            let known = map.iter().filter(|(_, value)| !value.is_null());
            Value::from_object(known.map(|(key, value)| (key.clone(), to_value(value))).collect::<Properties>())
        }
    }
}

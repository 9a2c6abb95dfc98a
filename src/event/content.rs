//! The content of an event in one canonical text, and its hash: the same fact in another spelling is the same.

use super::item::Location;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// An object as JSON with sorted keys and no blanks.
pub(super) fn canonical(map: &Map<String, Value>) -> String {
    let mut out = String::with_capacity(64);
    write_object(map, &mut out);
    out
}

/// What two events with the same id must share to be the same: 32 hex digits.
pub(super) fn hash(kind: &str, occurred_ms: i64, subject: &str, (properties, location): (&str, Option<Location>)) -> String {
    let mut text = String::with_capacity(kind.len() + subject.len() + properties.len() + 80);
    // Lengths first, so that no two contents run together into one text.
    let _ = write!(text, "{}:{kind}{occurred_ms}:{}:{subject}{properties}", kind.len(), subject.len());
    if let Some(Location { lat, lon, accuracy_m }) = location {
        let _ = write!(text, "@{:x}:{:x}", lat.to_bits(), lon.to_bits());
        if let Some(accuracy_m) = accuracy_m {
            let _ = write!(text, ":{:x}", accuracy_m.to_bits());
        }
    }
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(16).fold(String::with_capacity(32), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn write_object(map: &Map<String, Value>, out: &mut String) {
    let mut members: Vec<(&String, &Value)> = map.iter().collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (n, (key, value)) in members.into_iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => write_object(map, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::String(text) => write_string(text, out),
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    // A string always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

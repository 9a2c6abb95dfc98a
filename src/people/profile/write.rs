//! What may be written into a user's attributes, and what comes of it. Pure.

use super::attribute::{Attribute, AttributeKind, Writer};
use crate::error::FieldError;
use serde_json::{Map, Number, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of all attributes of one user, as JSON.
const TOTAL_LIMIT_BYTES: usize = 32 * 1024;
/// How many faults one refusal names.
const FAULTS_MAX: usize = 50;

/// The declared attributes of users, by key.
pub type Declared = BTreeMap<String, Attribute>;

/// What is to be written: no key in two of the parts.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// Values to set (RFC 7396); `null` removes.
    pub attributes: Map<String, Value>,
    /// Numbers to add to what is there, or to 0.
    pub increment: Map<String, Value>,
    /// Items to put at the end of a list, each unless it is there.
    pub append: Map<String, Value>,
    /// Values to set where there is none.
    pub set_once: Map<String, Value>,
}

impl Writes {
    /// A patch alone.
    pub fn patch(attributes: Map<String, Value>) -> Self {
        Self { attributes, ..Self::default() }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(|(_, _, writes)| writes.is_empty())
    }

    fn parts(&self) -> [(&'static str, Part, &Map<String, Value>); 4] {
        [
            ("attributes", Part::Set, &self.attributes),
            ("increment", Part::Increment, &self.increment),
            ("append", Part::Append, &self.append),
            ("set_once", Part::SetOnce, &self.set_once),
        ]
    }
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Set,
    Increment,
    Append,
    SetOnce,
}

type Fault = (&'static str, String);

/// Writes into a user's attributes. Only declared names come out of it, each with a value of its kind.
///
/// # Errors
/// All fields at fault, under the name of their part: unknown names, wrong types, what this writer may not write, a
/// name in two parts, sums that are too large.
pub fn apply(
    declared: &Declared,
    by: Writer,
    current: &Map<String, Value>,
    writes: &Writes,
) -> Result<Map<String, Value>, Vec<FieldError>> {
    let mut after = current.clone();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let all = writes.parts().into_iter().flat_map(|(name, part, writes)| writes.iter().map(move |(k, v)| (name, part, k, v)));
    for (name, part, key, value) in all {
        let written = match declared.get(key) {
            None => Err(("unknown", "not a declared attribute; /v1/attributes declares them".to_owned())),
            Some(_) if !seen.insert(key) => Err(("duplicate", "one change may name an attribute once".to_owned())),
            Some(attribute) if !attribute.writers.include(by) => Err(("not_writable", not_yours(by).to_owned())),
            Some(attribute) => written(attribute, part, after.get(key), value),
        };
        match written {
            Ok(Some(value)) => drop(after.insert(key.clone(), value)),
            Ok(None) => drop(after.remove(key)),
            Err((code, message)) => {
                let field = format!("{name}.{}", key.chars().take(64).collect::<String>());
                faults.push(FieldError { field, code, message });
            }
        }
        if faults.len() >= FAULTS_MAX {
            return Err(faults);
        }
    }
    let bytes = serde_json::to_string(&after).map_or(usize::MAX, |text| text.len());
    if bytes > TOTAL_LIMIT_BYTES {
        let message = format!("all attributes together may have at most {TOTAL_LIMIT_BYTES} bytes as JSON");
        faults.push(FieldError { field: "attributes".to_owned(), code: "too_long", message });
    }
    if faults.is_empty() { Ok(after) } else { Err(faults) }
}

fn not_yours(by: Writer) -> &'static str {
    match by {
        Writer::User => "only the app's back end may write this attribute",
        Writer::Server => "only the user may write this attribute",
    }
}

/// The value of one attribute afterwards; none when there is none.
fn written(attribute: &Attribute, part: Part, before: Option<&Value>, value: &Value) -> Result<Option<Value>, Fault> {
    let fits = |value: Value| attribute.fault(&value).map_or(Ok(Some(value)), Err);
    match part {
        Part::Set if value.is_null() => Ok(None),
        Part::Set => fits(value.clone()),
        Part::SetOnce => {
            let value = fits(value.clone())?;
            Ok(before.cloned().or(value))
        }
        Part::Increment => fits(sum(attribute, before, value)?),
        Part::Append => {
            let longer = longer(attribute, before, value)?;
            // Nothing appended to nothing is nothing.
            if before.is_none() && longer.is_empty() { Ok(None) } else { fits(Value::Array(longer)) }
        }
    }
}

fn sum(attribute: &Attribute, before: Option<&Value>, by: &Value) -> Result<Value, Fault> {
    let invalid = || ("invalid", "expected a number to add to an attribute of the kind number".to_owned());
    let zero = Value::from(0);
    let (AttributeKind::Number, Value::Number(before), Value::Number(by)) = (attribute.kind, before.unwrap_or(&zero), by) else {
        return Err(invalid());
    };
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    let sum = match whole(before).zip(whole(by)) {
        // Whole numbers stay whole: a sum of fractions forgets units once it is large.
        Some((before, by)) => {
            let sum = before + by;
            i64::try_from(sum).map(Number::from).or_else(|_| u64::try_from(sum).map(Number::from)).ok()
        }
        None => before.as_f64().zip(by.as_f64()).and_then(|(before, by)| Number::from_f64(before + by)),
    };
    sum.map(Value::Number).ok_or_else(|| ("out_of_range", "the sum is too large".to_owned()))
}

fn longer(attribute: &Attribute, before: Option<&Value>, items: &Value) -> Result<Vec<Value>, Fault> {
    let Value::Array(items) = items else {
        return Err(("invalid", "expected a list of texts to append".to_owned()));
    };
    let mut list = match (attribute.kind, before) {
        (AttributeKind::List, None) => Vec::new(),
        (AttributeKind::List, Some(Value::Array(list))) => list.clone(),
        _ => return Err(("invalid", "only to an attribute of the kind list can be appended".to_owned())),
    };
    let mut there: BTreeSet<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for item in items {
        if item.as_str().is_none_or(|text| there.insert(text.to_owned())) {
            list.push(item.clone());
        }
    }
    Ok(list)
}

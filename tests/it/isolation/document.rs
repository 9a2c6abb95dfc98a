//! The operations of the served OpenAPI document, as the tests of isolation walk them.

use kairos::routes::ApiDoc;
use serde_json::Value;
use std::collections::BTreeSet;
use utoipa::OpenApi as _;

/// One operation.
pub struct Operation {
    /// In capitals.
    pub method: String,
    /// The template of the path.
    pub path: String,
    /// Sets of credentials of which any one suffices; none: open to all.
    pub callers: Vec<BTreeSet<String>>,
    /// Names of the properties that answers have and the body has not.
    pub answered_only: BTreeSet<String>,
    /// Whether it takes a JSON body.
    pub has_body: bool,
}

impl Operation {
    /// Whether this kind of credential alone is enough.
    pub fn takes(&self, scheme: &str) -> bool {
        self.callers.iter().any(|set| set.len() == 1 && set.contains(scheme))
    }
}

/// Every operation there is.
pub fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(ApiDoc::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if let Some(operation) = item.get(method) {
                all.push(read(&document, path, (method, operation)));
            }
        }
    }
    all
}

fn read(document: &Value, path: &str, (method, operation): (&str, &Value)) -> Operation {
    let callers = operation["security"].as_array().into_iter().flatten();
    let callers = callers.map(|set| set.as_object().unwrap().keys().cloned().collect()).collect();
    let body = operation.pointer("/requestBody/content/application~1json/schema");
    let taken = body.map(|schema| properties(document, schema, 0)).unwrap_or_default();
    let mut answered = BTreeSet::new();
    for answer in operation["responses"].as_object().into_iter().flat_map(|all| all.values()) {
        if let Some(schema) = answer.pointer("/content/application~1json/schema") {
            answered.extend(properties(document, schema, 0));
        }
    }
    // What servers make and callers would like to make, whether this operation shows it or not.
    let coveted = ["id", "app_id", "user_id", "created_at", "updated_at", "revision", "secret", "role", "is_admin", "owner"];
    answered.extend(coveted.map(str::to_owned));
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        callers,
        answered_only: answered.difference(&taken).cloned().collect(),
        has_body: body.is_some(),
    }
}

/// The names of a schema's properties, through references and compositions.
fn properties(document: &Value, schema: &Value, depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if depth > 6 {
        return names;
    }
    if let Some(target) = schema["$ref"].as_str() {
        let target = document.pointer(target.trim_start_matches('#')).unwrap();
        names.extend(properties(document, target, depth + 1));
    }
    names.extend(schema["properties"].as_object().into_iter().flat_map(|all| all.keys().cloned()));
    for word in ["allOf", "oneOf", "anyOf"] {
        for part in schema[word].as_array().into_iter().flatten() {
            names.extend(properties(document, part, depth + 1));
        }
    }
    names
}

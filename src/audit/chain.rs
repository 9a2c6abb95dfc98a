//! How rows hang together: each one's hash covers the row and the hash before it (pure).

use ring::digest;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The hash before the first row.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The app whose chain it is in; "" for the installation's own.
    pub chain: String,
    /// Its place in the chain: 1, 2, 3, …
    pub seq: i64,
    /// When, in UTC milliseconds.
    pub at_ms: i64,
    /// Who: `key_…`, `opr_…`, `command` or `nobody`.
    pub actor: String,
    /// A route's template and its method, or the name of what was done.
    pub action: String,
    /// Ids of what it was done to.
    pub objects: Vec<String>,
    /// Names of the fields that were sent.
    pub fields: Vec<String>,
    /// What else is worth knowing.
    pub details: BTreeMap<String, String>,
    /// The name of the request.
    pub request_id: Option<String>,
    /// What [`hash`] gave when it was appended, in hex.
    pub hash: String,
}

/// SHA-256, in hex, of the hash before (in hex) and the row as a JSON array without blanks:
/// `[chain, seq, at_ms, actor, action, objects, fields, details, request_id]`.
pub fn hash(before: &str, row: &Row) -> String {
    let Row { chain, seq, at_ms, actor, action, objects, fields, details, request_id, hash: _ } = row;
    let canonical = serde_json::json!([chain, seq, at_ms, actor, action, objects, fields, details, request_id]);
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(if before.is_empty() { BEGINNING } else { before }.as_bytes());
    context.update(canonical.to_string().as_bytes());
    context.finish().as_ref().iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a String does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A walk along a chain, and what it has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// The place of the last row seen.
    pub seen: i64,
    /// How many rows were seen.
    pub count: i64,
    /// The hash of the last row seen; "" before the first.
    pub head: String,
    /// The place of the first row that does not follow from the one before it.
    pub first_bad: Option<i64>,
}

impl Walk {
    /// Takes the next row.
    pub fn step(&mut self, row: &Row) {
        let follows = row.seq == self.seen + 1 && row.hash == hash(&self.head, row);
        if !follows && self.first_bad.is_none() {
            // A gap is named by the row that is missing.
            self.first_bad = Some(row.seq.min(self.seen + 1));
        }
        self.seen = row.seq;
        self.count += 1;
        self.head.clone_from(&row.hash);
    }
}

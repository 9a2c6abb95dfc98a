//! The stand-in's own URLs: phones, faults, ledger.

use super::fault::Rule;
use super::phones::Phone;
use super::{Inner, Reply};
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::Ordering;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPhone {
    token: String,
    phone: Phone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Streams {
    streams: u32,
}

/// `PUT /standin/faults` (a list; replaces all), `DELETE /standin/faults`, `PUT /standin/phones` (a list),
/// `PUT /standin/streams` (`{streams}`), `GET /standin/ledger`.
pub(super) fn answer(inner: &Inner, method: &http::Method, path: &str, body: &[u8]) -> Reply {
    let done = || Reply::new(204, None, "");
    let wrong = |e: serde_json::Error| Reply::new(400, None, json!({"error": e.to_string()}).to_string());
    match (method.as_str(), path) {
        ("PUT", "faults") => match serde_json::from_slice::<Vec<Rule>>(body) {
            Ok(rules) => {
                inner.faults.replace(rules);
                done()
            }
            Err(e) => wrong(e),
        },
        ("DELETE", "faults") => {
            inner.faults.replace(Vec::new());
            done()
        }
        ("PUT", "phones") => match serde_json::from_slice::<Vec<NamedPhone>>(body) {
            Ok(phones) => {
                phones.into_iter().for_each(|named| inner.phones.put(named.token, named.phone));
                done()
            }
            Err(e) => wrong(e),
        },
        ("PUT", "streams") => match serde_json::from_slice::<Streams>(body) {
            Ok(Streams { streams }) => {
                inner.streams.store(streams, Ordering::SeqCst);
                done()
            }
            Err(e) => wrong(e),
        },
        ("GET", "ledger") => match serde_json::to_vec(&inner.ledger.rows()) {
            Ok(rows) => Reply::new(200, None, rows),
            Err(e) => wrong(e),
        },
        _ => Reply::new(404, None, ""),
    }
}

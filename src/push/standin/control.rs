//! The stand-in's own URLs: credentials, phones, faults, limits, ledger. All bodies and answers are JSON.

use super::fault::{Door, Quota, Rule};
use super::ledger::Filter;
use super::phones::Phone;
use super::{Inner, Reply, issue, webpush};
use crate::push::Environment;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Most phones in one call.
const PHONES_MAX: usize = 10_000;

/// A call of one of them.
pub(super) struct Asked<'a> {
    pub(super) method: &'a http::Method,
    /// What follows `/standin/`.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) body: &'a [u8],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedPhone {
    token: String,
    phone: Phone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phones {
    gateway: crate::push::Gateway,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    topic: Option<String>,
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    host: String,
    application_server_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Streams {
    streams: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoorIn {
    door: Door,
    #[serde(default)]
    times: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApnsKey {
    #[serde(default)]
    environment: Environment,
    topics: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    project_id: String,
}

type Answered = Result<Reply, String>;

/// `POST apns-keys` (`{environment, topics}`) and `POST service-accounts` (`{project_id}`) make credentials in the form in
/// which their owners hand them out; `DELETE apns-keys/{key_id}` and `DELETE service-accounts/{client_email}` revoke them.
/// `POST subscriptions` (`{host, application_server_key?}`) answers what a browser hands to its page.
/// `POST phones` (`{gateway, environment, topic, count}`) makes phones and answers their tokens, `PUT phones` (a list of
/// `{token, phone}`) says what is known of some. `PUT faults` (a list; replaces all), `POST faults` (one more), `DELETE
/// faults`; `PUT streams` (`{streams}`; open connections are told), `PUT door` (`{door, times}`), `PUT quota`
/// (`{per_minute, retry_after_s}`), `DELETE quota`, `PUT channels` (`{most?, barred?}`), `DELETE connections`. `GET ledger`
/// (filters in the query) and `GET summary`.
pub(super) fn answer(inner: &Inner, asked: &Asked<'_>) -> Reply {
    let done = || Ok(Reply::new(204, None, ""));
    let answered = match (asked.method.as_str(), asked.path) {
        ("POST", "apns-keys" | "service-accounts" | "subscriptions" | "phones") => make(inner, asked),
        ("PUT", "phones") => read::<Vec<NamedPhone>>(asked.body).and_then(|phones| {
            phones.into_iter().for_each(|named| inner.phones.put(named.token, named.phone));
            done()
        }),
        ("PUT", "faults") => read::<Vec<Rule>>(asked.body).and_then(|rules| {
            inner.faults.replace(rules);
            done()
        }),
        ("POST", "faults") => read::<Rule>(asked.body).and_then(|rule| {
            inner.faults.add(rule);
            done()
        }),
        ("PUT", "streams") => read::<Streams>(asked.body).and_then(|Streams { streams }| {
            inner.set_streams(streams);
            done()
        }),
        ("PUT", "door") => read::<DoorIn>(asked.body).and_then(|DoorIn { door, times }| {
            inner.set_door(door, times);
            done()
        }),
        ("PUT", "quota") => read::<Quota>(asked.body).and_then(|quota| {
            inner.quotas.set(Some(quota));
            done()
        }),
        ("PUT", "channels") => read::<super::broadcast::Rules>(asked.body).and_then(|rules| {
            inner.channels.rule(rules);
            done()
        }),
        ("DELETE", path) => delete(inner, path),
        ("GET", "ledger") => filter(asked.query).and_then(|filter| shown(200, &inner.ledger.find(&filter))),
        ("GET", "summary") => shown(200, &inner.ledger.summary()),
        _ => Ok(Reply::new(404, None, json!({"error": "there is no such URL"}).to_string())),
    };
    answered.unwrap_or_else(|why| Reply::new(400, None, json!({ "error": why }).to_string()))
}

/// Makes what clients need, in the shape in which the real providers hand it out.
fn make(inner: &Inner, asked: &Asked<'_>) -> Answered {
    match asked.path {
        "apns-keys" => {
            let ApnsKey { environment, topics } = read(asked.body)?;
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            if topics.is_empty() {
                return Err("topics: expected at least one bundle id".to_owned());
            }
            shown(201, &issue::apns(&inner.keys, environment, &topics).map_err(|e| e.to_string())?)
        }
        "service-accounts" => {
            let Account { project_id } = read(asked.body)?;
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if project_id.is_empty() || !project_id.bytes().all(plain) {
                return Err("project_id: expected small letters, digits and hyphens".to_owned());
            }
            let issued = issue::fcm(&inner.keys, &project_id).map_err(|e| e.to_string())?;
            shown(201, issued.get("service_account").ok_or("no account")?)
        }
        "subscriptions" => {
            let Page { host, application_server_key } = read(asked.body)?;
            shown(201, &webpush::subscribe(inner, &host, application_server_key).map_err(|e| e.to_string())?)
        }
        _ => {
            let Phones { gateway, environment, topic, count } = read(asked.body)?;
            if !(1..=PHONES_MAX).contains(&count) {
                return Err(format!("count: expected 1 to {PHONES_MAX}"));
            }
            let mut tokens = Vec::with_capacity(count);
            for _ in 0..count {
                let token = issue::token(gateway).map_err(|e| e.to_string())?;
                inner.phones.put(token.clone(), Phone { gateway, environment, topic: topic.clone(), dead_ms: None });
                tokens.push(token);
            }
            shown(201, &json!({ "tokens": tokens }))
        }
    }
}

fn delete(inner: &Inner, path: &str) -> Answered {
    match path {
        "faults" => inner.faults.replace(Vec::new()),
        "quota" => inner.quotas.set(None),
        "connections" => inner.wires.each(super::tap::Control::cut),
        other => match other.split_once('/') {
            Some(("apns-keys", key_id)) => inner.keys.remove_team(key_id),
            Some(("service-accounts", client_email)) => inner.keys.remove_account(client_email),
            Some(_) | None => return Ok(Reply::new(404, None, json!({"error": "there is no such URL"}).to_string())),
        },
    }
    Ok(Reply::new(204, None, ""))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

fn shown(status: u16, value: &impl Serialize) -> Answered {
    serde_json::to_vec(value).map(|body| Reply::new(status, None, body)).map_err(|e| e.to_string())
}

/// Reads `name=value&…`, with percent signs and pluses as browsers write them.
fn filter(query: Option<&str>) -> Result<Filter, String> {
    let mut fields = serde_json::Map::new();
    for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
        let text = plain(value)?;
        let value = match name {
            "after" | "limit" => json!(text.parse::<u64>().map_err(|_| format!("{name}: expected a number"))?),
            "delivered" => json!(text.parse::<bool>().map_err(|_| "delivered: expected true or false".to_owned())?),
            _ => json!(text),
        };
        fields.insert(name.to_owned(), value);
    }
    serde_json::from_value(fields.into()).map_err(|e| e.to_string())
}

/// What a part of a URL says.
pub(super) fn plain(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&hex, 16).map_err(|_| "a percent sign wants two hex digits after it".to_owned())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

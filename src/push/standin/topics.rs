//! Google's side of topics: which registrations have subscribed to which. What is sent to a topic stays one row of the ledger.

use super::control::plain;
use super::fcm::{bad_request, error, stranger};
use super::phones::Standing;
use super::{Inner, Reply};
use crate::people::device::FID_PREFIX;
use crate::push::{Environment, Gateway};
use http::request::Parts;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The project, the registration in it, and the topic.
type Subscription = (String, String, String);

/// All subscriptions, and since when they are there, UTC milliseconds.
#[derive(Default)]
pub(super) struct Topics(Mutex<BTreeMap<Subscription, i64>>);

impl Topics {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Subscription, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call about the subscriptions of a registration, as it arrived.
pub(super) struct Request<'a> {
    head: &'a Parts,
    body: &'a [u8],
    project_id: &'a str,
    /// A token, or an installation id.
    registration: String,
    /// The subscription that the path names.
    topic: Option<String>,
}

impl<'a> Request<'a> {
    /// Reads `/v1/projects/…/registrations/…/topicSubscriptions`, with or without a topic behind it; none: it is another URL.
    pub(super) fn of(head: &'a Parts, body: &'a [u8]) -> Option<Self> {
        let (project_id, rest) = head.uri.path().strip_prefix("/v1/projects/")?.split_once("/registrations/")?;
        let (registration, rest) = rest.split_once("/topicSubscriptions")?;
        let topic = match rest.strip_prefix('/') {
            Some(topic) => Some(plain(topic).ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { head, body, project_id, registration: plain(registration).ok()?, topic })
    }

    fn query(&self, names: [&str; 2]) -> Option<String> {
        let pairs = self.head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| names.contains(name)).find_map(|(_, value)| plain(value).ok())
    }

    /// Google's answer.
    pub(super) fn answer(&self, inner: &Inner) -> Reply {
        if let Some(refusal) = stranger(inner, &self.head.headers, self.project_id) {
            return refusal;
        }
        match (self.head.method.as_str(), &self.topic) {
            ("POST", None) => self.subscribe(inner),
            ("GET", None) => {
                let all = inner.topics.all();
                let own = all.iter().filter(|((project, who, _), _)| project == self.project_id && *who == self.registration);
                let own: Vec<Value> = own.map(|((.., topic), since_ms)| self.shown(topic, *since_ms)).collect();
                ok(&json!({ "topic_subscriptions": own }))
            }
            ("GET", Some(topic)) => match inner.topics.all().get(&self.named(topic)) {
                Some(since_ms) => ok(&self.shown(topic, *since_ms)),
                None => error(404, None, "NOT_FOUND"),
            },
            ("DELETE", Some(topic)) => {
                let was_there = inner.topics.all().remove(&self.named(topic)).is_some();
                let may_miss = self.query(["allow_missing", "allowMissing"]).as_deref() == Some("true");
                if was_there || may_miss { ok(&json!({})) } else { error(404, None, "NOT_FOUND") }
            }
            _ => error(404, None, "NOT_FOUND"),
        }
    }

    fn subscribe(&self, inner: &Inner) -> Reply {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'%');
        let named = self.query(["topic_name", "topicName"]);
        let Some(topic) = named.filter(|topic| (1..=900).contains(&topic.len()) && topic.bytes().all(good)) else {
            return bad_request("topic_name");
        };
        if !self.body.is_empty() && serde_json::from_slice::<Map<String, Value>>(self.body).is_err() {
            return bad_request("topic_subscription");
        }
        if !self.is_there(inner) {
            return error(404, None, "NOT_FOUND");
        }
        let (now_ms, mut all) = (inner.clock.now_ms(), inner.topics.all());
        if all.contains_key(&self.named(&topic)) {
            return error(409, None, "ALREADY_EXISTS");
        }
        all.insert(self.named(&topic), now_ms);
        ok(&self.shown(&topic, now_ms))
    }

    /// Whether there is such an installation of an app: its id and its token stand in the same place.
    fn is_there(&self, inner: &Inner) -> bool {
        let ids = [self.registration.clone(), format!("{FID_PREFIX}{}", self.registration)];
        let standing = |id: &String| inner.phones.standing(id, Gateway::Fcm, Environment::Production, self.project_id);
        let all = ids.each_ref().map(standing);
        let unheard = all.iter().all(|standing| matches!(standing, Standing::Unheard));
        unheard && inner.any_token || all.iter().any(|standing| matches!(standing, Standing::Live))
    }

    fn named(&self, topic: &str) -> Subscription {
        (self.project_id.to_owned(), self.registration.clone(), topic.to_owned())
    }

    fn shown(&self, topic: &str, since_ms: i64) -> Value {
        let Self { project_id, registration, .. } = self;
        let name = format!("projects/{project_id}/registrations/{registration}/topicSubscriptions/{topic}");
        let since = jiff::Timestamp::from_millisecond(since_ms).map(|at| at.to_string()).unwrap_or_default();
        json!({"name": name, "topic_name": topic, "create_time": since})
    }
}

fn ok(body: &Value) -> Reply {
    Reply::new(200, None, body.to_string())
}

//! The row of the request that is being answered, while it is not written yet.

use super::{Actor, DATA_PLANE, Entry, store};
use crate::clock::Clock;
use crate::error::Result;
use crate::id::AppId;
use crate::store::{Closing, Conn, closing, with_closing};
use actix_web::web::Bytes;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who makes a request, and what it is.
pub struct Act {
    /// The app whose chain it belongs to.
    pub app_id: AppId,
    /// Who.
    pub actor: Actor,
    /// `POST`, `PATCH`, …
    pub method: String,
    /// The template of the path.
    pub route: String,
    /// Ids of what it is done to.
    pub objects: Vec<String>,
    /// Says when.
    pub clock: Clock,
}

/// See the module.
#[derive(Default)]
pub struct Draft(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    request_id: Option<String>,
    act: Option<Act>,
    body: Bytes,
    made: Vec<String>,
    details: BTreeMap<String, String>,
    /// Whether a transaction with the row in it has committed.
    written: bool,
}

/// Answers a request of this name with a draft of its own.
pub async fn watched<F: Future>(request_id: &str, answer: F) -> F::Output {
    let inner = Inner { request_id: Some(request_id.to_owned()), ..Inner::default() };
    with_closing(Arc::new(Draft(Mutex::new(inner))), answer).await
}

/// The name of the request that is being answered, in its handler and in its transactions.
pub(super) fn request_id() -> Option<String> {
    closing(|draft: &Draft| draft.inner().request_id.clone()).flatten()
}

/// Says who makes the request: from now on what it writes has a row. What only reads, and the data plane, has none.
pub fn act(act: Act) {
    let reads = matches!(act.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    if !reads && !DATA_PLANE.contains(&(act.method.as_str(), act.route.as_str())) {
        drafted(|draft| draft.act = Some(act));
    }
}

/// Keeps the request's body for the names of its fields.
pub fn body(bytes: &Bytes) {
    drafted(|draft| draft.body = bytes.clone());
}

/// Names what the request has made, beside the ids of its path. It may be called in a handler or in its transaction.
pub fn made(id: impl Display) {
    drafted(|draft| {
        let id = id.to_string();
        if !draft.made.contains(&id) {
            draft.made.push(id);
        }
    });
}

/// Adds a named detail to the row of the request, e.g. why somebody acts for a user. Nothing personal: the row is for ever.
/// It may be called in a handler or in its transaction; the last value of a name counts.
pub fn note(name: &str, value: impl Display) {
    drafted(|draft| drop(draft.details.insert(name.to_owned(), value.to_string())));
}

fn drafted(change: impl FnOnce(&mut Inner)) {
    closing(|draft: &Draft| change(&mut draft.inner()));
}

impl Draft {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn entry(&self) -> Option<(AppId, Entry)> {
        let act = self.act.as_ref().filter(|_| !self.written)?;
        let named: BTreeMap<String, IgnoredAny> = serde_json::from_slice(&self.body).unwrap_or_default();
        let entry = Entry {
            at_ms: act.clock.now_ms(),
            actor: act.actor,
            action: format!("{} {}", act.route, act.method),
            objects: act.objects.iter().chain(&self.made).cloned().collect(),
            fields: named.into_keys().collect(),
            details: self.details.clone(),
            request_id: self.request_id.clone(),
        };
        Some((act.app_id, entry))
    }
}

impl Closing for Draft {
    fn close(&self, conn: &mut Conn) -> Result<()> {
        let entry = self.inner().entry();
        entry.map_or(Ok(()), |(app, entry)| store::append(conn, Some(app), entry))
    }

    fn committed(&self) {
        let mut inner = self.inner();
        inner.written |= inner.act.is_some();
    }
}

//! What gateways think of credentials, from the lanes to the database, the app's servers, the log and the metrics.
//!
//! A lane says that its credential was taken (once an hour) or refused (once per outage); a worker writes that down. The
//! database knows whether it is news to all nodes: then `push_credential.refused` or `push_credential.recovered` is told.

use super::credentials::{Known, Public};
use super::message::Gateway;
use super::warnings::{self, STALE_MS};
use super::{advice, store};
use crate::clock::HOUR_MS;
use crate::error::Result;
use crate::id::AppId;
use crate::people::device::Environment;
use crate::platform::Platform;
use crate::store::Conn;
use crate::webhook::{self, Event};
use crate::worker::{Hint, Progress, Worker};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often a credential that works is noted.
const NOTED_EVERY_MS: u64 = HOUR_MS.unsigned_abs();
/// How long after a refusal a success does not take it back: what was under way together comes in together.
const FLIP_MS: u64 = 10_000;
/// How often credentials are counted for the metrics, by the domain's clock.
const COUNT_EVERY_MS: u64 = 60_000;
const POLL_MS: u64 = 5_000;

/// What a gateway thinks of a credential now.
#[derive(Debug, Clone)]
pub(super) struct News {
    pub(super) app: AppId,
    pub(super) gateway: Gateway,
    pub(super) environment: Environment,
    pub(super) key_id: String,
    pub(super) revision: i64,
    /// The gateway's word, when it refuses it; else it was taken.
    pub(super) refused: Option<String>,
    pub(super) at_ms: i64,
}

/// Where news waits to be written; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Vec<News>>,
    hint: Hint,
    counted_ms: AtomicI64,
}

/// What a lane knows of its credential's standing.
pub(super) struct Standing {
    desk: Desk,
    /// As it would be told now.
    label: News,
    noted_ms: AtomicI64,
    refused: AtomicBool,
    refused_ms: AtomicI64,
}

impl Standing {
    pub(super) fn new(desk: &Desk, label: News) -> Self {
        Self {
            desk: desk.clone(),
            label,
            noted_ms: AtomicI64::new(i64::MIN),
            refused: AtomicBool::new(false),
            refused_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// Of which of a gateway's keys it is; "": there is one.
    pub(super) fn key_id(&self) -> &str {
        &self.label.key_id
    }

    /// The gateway has taken it.
    pub(super) fn proven(&self, now_ms: i64) {
        let refused = self.refused.load(Ordering::Relaxed);
        let fresh = self.noted_ms.load(Ordering::Relaxed).abs_diff(now_ms) < NOTED_EVERY_MS;
        // One topic of a key may be refused while another is not: that is told once, and not with every answer.
        let flips = refused && self.refused_ms.load(Ordering::Relaxed).abs_diff(now_ms) < FLIP_MS;
        if fresh && !refused || flips {
            return;
        }
        self.noted_ms.store(now_ms, Ordering::Relaxed);
        self.refused.store(false, Ordering::Relaxed);
        self.desk.put(News { at_ms: now_ms, ..self.label.clone() });
    }

    /// The gateway refuses it.
    pub(super) fn refused(&self, reason: &str, now_ms: i64) {
        self.refused_ms.store(now_ms, Ordering::Relaxed);
        if !self.refused.swap(true, Ordering::Relaxed) {
            self.desk.put(News { refused: Some(reason.to_owned()), at_ms: now_ms, ..self.label.clone() });
        }
    }
}

impl Desk {
    pub(super) fn put(&self, news: News) {
        self.waiting().push(news);
        self.0.hint.nudge();
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<News>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop that writes.
    pub(super) fn worker(&self, platform: &Platform) -> Worker {
        let (desk, platform) = (self.clone(), platform.clone());
        Worker::new("push credentials", self.0.hint.clone(), POLL_MS, move || {
            let (desk, platform) = (desk.clone(), platform.clone());
            async move { desk.step(&platform).await }
        })
    }

    async fn step(&self, platform: &Platform) -> Result<Progress> {
        self.count(platform).await?;
        let news = self.waiting().clone();
        if news.is_empty() {
            return Ok(Progress::Idle);
        }
        let written = news.len();
        platform.store.write(move |conn| news.iter().try_for_each(|one| write(conn, one))).await?;
        self.waiting().drain(..written);
        Ok(Progress::More)
    }

    /// How many credentials there are, by gateway and state.
    async fn count(&self, platform: &Platform) -> Result<()> {
        let now_ms = platform.clock.now_ms();
        if self.0.counted_ms.load(Ordering::SeqCst).abs_diff(now_ms) < COUNT_EVERY_MS {
            return Ok(());
        }
        self.0.counted_ms.store(now_ms, Ordering::SeqCst);
        let all = platform.store.read(store::all_credentials).await?;
        let mut counts: BTreeMap<(&'static str, &'static str), u32> = BTreeMap::new();
        for gateway in Gateway::ALL {
            for state in STATES {
                counts.insert((gateway.word(), state), 0);
            }
        }
        for (gateway, known) in &all {
            *counts.entry((gateway.word(), state(known, now_ms))).or_default() += 1;
        }
        for ((gateway, state), n) in counts {
            metrics::gauge!("kairos_push_credentials", "gateway" => gateway, "state" => state).set(f64::from(n));
        }
        Ok(())
    }
}

/// In which state a credential can be, for the metrics.
const STATES: [&str; 4] = ["good", "unproven", "stale", "refused"];

fn state(known: &Known, now_ms: i64) -> &'static str {
    if known.refused_ms.is_some() {
        "refused"
    } else if known.proven_ms.is_none() {
        "unproven"
    } else if known.proven_ms.is_some_and(|at_ms| now_ms - at_ms > STALE_MS) {
        "stale"
    } else {
        "good"
    }
}

/// Writes one piece of news, and tells of it when it begins or ends an outage.
pub(super) fn write(conn: &mut Conn, news: &News) -> Result<()> {
    let Some(before_ms) = store::note(conn, news)? else { return Ok(()) };
    let kind = match (&news.refused, before_ms) {
        (Some(reason), None) => {
            tracing::error!(
                gateway = news.gateway.word(),
                reason,
                advice = advice::of(news.gateway, reason),
                "a push credential is refused"
            );
            "push_credential.refused"
        }
        (None, Some(_)) => {
            tracing::info!(gateway = news.gateway.word(), "a push credential is taken again");
            "push_credential.recovered"
        }
        (Some(_), Some(_)) | (None, None) => return Ok(()),
    };
    let since_ms = before_ms.unwrap_or(news.at_ms);
    let mut data = json!({"gateway": news.gateway, "environment": news.environment, "since": crate::clock::Time(since_ms)});
    if !news.key_id.is_empty() {
        data["key_id"] = json!(news.key_id);
    }
    if let Some(reason) = &news.refused {
        data["reason"] = json!(reason);
        data["advice"] = json!(advice::of(news.gateway, reason));
    }
    let (gateway, world) = (news.gateway.word(), news.environment.name());
    let once = format!("{gateway}:{world}:{}:{}:{since_ms}", news.key_id, news.revision);
    webhook::emit(conn, news.app, &Event { kind, at_ms: news.at_ms, once, user: None, partner: None, data })
}

/// Whether what may be shown of a credential asks for somebody's attention.
pub(super) fn warnings(gateway: Gateway, known: &Known, now_ms: i64) -> Vec<warnings::Warning> {
    let Public { environment, .. } = known.public;
    warnings::of((gateway, environment), known, now_ms)
}

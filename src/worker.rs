//! One loop for everything that works in the background: hint or clock, batch, back off, stop.

use crate::clock::Clock;
use crate::error::Result;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What one step of a worker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Work was done and there may be more: step again at once.
    More,
    /// Nothing to do before a hint.
    Idle,
    /// Nothing to do before this time of the domain's clock, or a hint.
    Until(i64),
}

/// Wakes a worker, one of its loops; many hints before it looks are one.
#[derive(Clone, Default)]
pub struct Hint(Arc<Notify>);

impl Hint {
    /// Says that there may be work.
    pub fn nudge(&self) {
        self.0.notify_one();
    }

    /// Waits for the next nudge, or returns at once when there was one that nobody has seen.
    pub async fn nudged(&self) {
        self.0.notified().await;
    }
}

/// A background loop. Work is found in the database; hints only save waiting.
pub struct Worker {
    /// Its name in logs.
    pub name: &'static str,
    /// What wakes it.
    pub hint: Hint,
    /// Longest wait without a hint, in real milliseconds: lost hints cost no more than this.
    pub poll_ms: u64,
    /// How many loops take its steps at once.
    pub loops: usize,
    step: Box<dyn Fn() -> BoxFuture<'static, Result<Progress>> + Send + Sync>,
}

impl Worker {
    /// A worker that repeats `step`.
    pub fn new<F>(name: &'static str, hint: Hint, poll_ms: u64, step: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Progress>> + Send + 'static,
    {
        Self { name, hint, poll_ms, loops: 1, step: Box::new(move || Box::pin(step())) }
    }

    /// The same, with so many loops.
    #[must_use]
    pub fn at_once(self, loops: usize) -> Self {
        Self { loops, ..self }
    }

    /// One step by hand: tests and replay.
    ///
    /// # Errors
    /// What the step returns.
    pub async fn step(&self) -> Result<Progress> {
        (self.step)().await
    }

    /// Steps until `stop` turns true; a step in progress is finished first. Failures are logged and backed off from.
    pub async fn run(self: Arc<Self>, clock: Clock, mut stop: watch::Receiver<bool>) {
        let mut failures: u32 = 0;
        while !*stop.borrow() {
            let wait_until_ms = match self.step().await {
                Ok(Progress::More) => {
                    failures = 0;
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Progress::Idle) => {
                    failures = 0;
                    None
                }
                Ok(Progress::Until(due_ms)) => {
                    failures = 0;
                    Some(due_ms)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(worker = self.name, %error, failures, "a step failed");
                    nap(50_u64 << failures.min(6), &mut stop).await;
                    continue;
                }
            };
            let due = async {
                match wait_until_ms {
                    Some(due_ms) => clock.sleep_until(due_ms).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.hint.0.notified() => {}
                () = due => {}
                () = nap(self.poll_ms, &mut stop) => {}
            }
        }
    }
}

/// Waits in real time, or less when it is time to stop.
async fn nap(wait_ms: u64, stop: &mut watch::Receiver<bool>) {
    #[expect(clippy::disallowed_methods, reason = "back-off and polling are in machine time, not in the domain's")]
    let wait = tokio::time::sleep(Duration::from_millis(wait_ms));
    tokio::select! {
        () = wait => {}
        _ = stop.changed() => {}
    }
}

//! The loop that sends: claims what is due, app by app in turn, hands it to the mail server, notes what came of it.

use super::smtp::{Server, Verdict};
use super::store::{self, Claimed};
use super::{State, count, open, retention};
use crate::clock::HOUR_MS;
use crate::error::Result;
use crate::id::AppId;
use crate::platform::Platform;
use crate::store::Conn;
use crate::worker::{Progress, Worker};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How often to look without a hint, in milliseconds.
const POLL_MS: u64 = 1_000;
/// The first pause after a failed attempt, in milliseconds; it doubles.
const PAUSE_MS: i64 = 5_000;
/// The longest pause, in milliseconds.
const PAUSE_MAX_MS: i64 = HOUR_MS;
/// How much longer than one attempt a mail is nobody else's, in milliseconds.
const LEASE_SPARE_MS: i64 = 30_000;

/// Sends mails; cheap to clone.
#[derive(Clone)]
pub struct Mailer(Arc<Inner>);

struct Inner {
    platform: Platform,
    server: Option<Server>,
    /// One for each mail that may be on its way.
    slots: Arc<Semaphore>,
    connections: u32,
    /// The app that was served last: the next one begins.
    turn: Mutex<Option<AppId>>,
}

impl Mailer {
    /// Reads the settings of the mail server.
    ///
    /// # Errors
    /// One line that says what to set.
    pub fn open(platform: &Platform) -> Result<Self> {
        let connections = platform.config.smtp_connections.clamp(1, 1_000);
        Ok(Self(Arc::new(Inner {
            platform: platform.clone(),
            server: Server::open(&platform.config)?,
            slots: Arc::new(Semaphore::new(connections)),
            connections: u32::try_from(connections).unwrap_or(1),
            turn: Mutex::default(),
        })))
    }

    /// The loops: one that tidies and, with a mail server, one that sends.
    pub fn workers(&self) -> Vec<Worker> {
        let mut workers = vec![retention::worker(&self.0.platform)];
        if self.0.server.is_some() {
            let me = self.clone();
            workers.push(Worker::new("mail", self.0.platform.mail_hint.clone(), POLL_MS, move || {
                let me = me.clone();
                async move { me.step().await }
            }));
        }
        workers
    }

    /// Waits until no mail is on its way.
    pub async fn landed(&self) {
        let _ = self.0.slots.acquire_many(self.0.connections).await;
    }

    /// One look at the outbox; while mails are on their way it waits for one of them, or for news.
    async fn step(&self) -> Result<Progress> {
        let mut free = Vec::new();
        while let Ok(slot) = Arc::clone(&self.0.slots).try_acquire_owned() {
            free.push(slot);
        }
        let full = free.is_empty();
        let Look { mails, next_due_ms } = self.claim(free.len()).await?;
        let claimed = !mails.is_empty();
        for (mail, slot) in mails.into_iter().zip(free.drain(..)) {
            let me = self.clone();
            tokio::spawn(async move { me.deliver(mail, slot).await });
        }
        drop(free);
        if claimed {
            return Ok(Progress::More);
        }
        if self.0.slots.available_permits() < self.0.connections as usize {
            let _ = timeout(Duration::from_millis(POLL_MS), self.0.platform.mail_hint.nudged()).await;
            return Ok(Progress::More);
        }
        // All of them came down during the look: what is due has its turn.
        if full {
            return Ok(Progress::More);
        }
        Ok(next_due_ms.map_or(Progress::Idle, Progress::Until))
    }

    async fn claim(&self, free: usize) -> Result<Look> {
        let platform = &self.0.platform;
        let now_ms = platform.clock.now_ms();
        let waiting = platform.store.read(store::waiting).await?;
        let next_due_ms = waiting.iter().map(|(_, due_ms)| *due_ms).min();
        let mut due: Vec<AppId> = waiting.into_iter().filter(|(_, due_ms)| *due_ms <= now_ms).map(|(app, _)| app).collect();
        if due.is_empty() || free == 0 {
            return Ok(Look { mails: Vec::new(), next_due_ms });
        }
        let last = *self.0.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let first = due.iter().position(|app| Some(*app) > last).unwrap_or(0);
        due.rotate_left(first);
        let attempt_ms = i64::try_from(platform.config.smtp_timeout_ms).unwrap_or(HOUR_MS);
        let lease = (now_ms, now_ms.saturating_add(attempt_ms).saturating_add(LEASE_SPARE_MS));
        let claim = move |conn: &mut Conn| {
            conn.serialise("mail claim")?;
            let expired = store::expire(conn, now_ms)?;
            let mut mails: Vec<Claimed> = Vec::new();
            for (n, app) in due.iter().enumerate() {
                // An equal share of what is left: whoever has little leaves the rest to those after it.
                let share = (free - mails.len()).div_ceil(due.len() - n);
                if share > 0 {
                    mails.extend(store::claim(conn, *app, lease, i64::try_from(share).unwrap_or(1))?);
                }
            }
            Ok((mails, expired))
        };
        let (mails, expired) = platform.store.write(claim).await?;
        expired.iter().for_each(|template| count(template, "expired"));
        if let Some(mail) = mails.last() {
            *self.0.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(mail.app_id);
        }
        Ok(Look { mails, next_due_ms })
    }

    /// Hands one mail over and notes what came of it. The slot is free before the hint: who looks then finds it.
    async fn deliver(&self, mail: Claimed, slot: OwnedSemaphorePermit) {
        let verdict = self.hand_over(&mail).await;
        if let Err(error) = self.settle(&mail, verdict).await {
            tracing::warn!(mail = %mail.id, %error, "what came of a mail could not be noted; it goes out again");
        }
        drop(slot);
        self.0.platform.mail_hint.nudge();
    }

    async fn hand_over(&self, mail: &Claimed) -> Verdict {
        let Some(server) = &self.0.server else { return Verdict::Later("no_server".to_owned()) };
        match open(&self.0.platform.master_key, (mail.app_id, mail.id), &mail.sealed) {
            Ok(content) => server.send(mail.id, &content, mail.created_ms).await,
            Err(error) => {
                tracing::error!(mail = %mail.id, %error, "a mail cannot be read");
                Verdict::Refused("unreadable".to_owned())
            }
        }
    }

    async fn settle(&self, mail: &Claimed, verdict: Verdict) -> Result<()> {
        let platform = &self.0.platform;
        let now_ms = platform.clock.now_ms();
        let at = (mail.app_id, mail.id, mail.attempt);
        let next_ms = now_ms + pause_ms(mail.attempt, u32::from_be_bytes(platform.ids.bytes::<4>()));
        let (outcome, end, reason) = match verdict {
            Verdict::Sent => ("sent", Some(State::Sent), None),
            Verdict::Refused(reason) => ("failed", Some(State::Failed), Some(reason)),
            Verdict::Later(reason) if next_ms >= mail.useful_until_ms => ("expired", Some(State::Expired), Some(reason)),
            Verdict::Later(reason) => ("retried", None, Some(reason)),
        };
        if let Some(reason) = &reason {
            tracing::warn!(mail = %mail.id, template = mail.template, attempt = mail.attempt, outcome, reason, "a mail was not sent");
        }
        let noted = platform.store.write(move |conn| {
            let reason = reason.as_deref();
            match end {
                Some(state) => store::end(conn, at, (state, reason), now_ms),
                None => store::retry(conn, at, (next_ms, reason.unwrap_or(""))),
            }
        });
        if noted.await? {
            count(&mail.template, outcome);
        }
        Ok(())
    }
}

/// What a look at the outbox found.
struct Look {
    mails: Vec<Claimed>,
    next_due_ms: Option<i64>,
}

/// The pause after a failed attempt (1 is the first): doubling, and between half of it and all of it, so that those who
/// failed together do not come back together.
fn pause_ms(attempt: i64, whim: u32) -> i64 {
    let doublings = u32::try_from(attempt.clamp(1, 20) - 1).unwrap_or(0);
    let whole_ms = (PAUSE_MS << doublings).min(PAUSE_MAX_MS);
    whole_ms / 2 + whole_ms / 2 * i64::from(whim) / i64::from(u32::MAX)
}

//! The way into the log: batches of concurrent callers share one transaction and are answered after it is on disk.

use super::ingest::{self, Floor};
use super::item::{Item, Subject};
use super::{Source, timer};
use crate::error::{Error, FieldError, Result};
use crate::id::{AppId, EventId, PartnerId, UserId};
use crate::place::Places;
use crate::planted::{Bug, planted};
use crate::platform::Platform;
use crate::store::{Conn, GroupCommit, Limits};
use crate::worker::{Hint, Progress, Worker};
use std::sync::Arc;

/// The topic of the cache on which new work for the lanes is told.
const WORK_TOPIC: &str = "work";

/// What may wait for the log, and what shares a transaction; weights are bytes.
const LIMITS: Limits = Limits { queue_calls: 4_096, queue_weight: 16 << 20, batch_calls: 128, batch_weight: 4 << 20 };
/// Longest wait of the clock's worker without a hint, in milliseconds.
const TIMER_POLL_MS: u64 = 5_000;

/// Who calls, as far as the log cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A signed-in user: events about themselves and their own installations.
    User(UserId),
    /// The app with its publishable key: events about the installation that each names.
    Installation,
    /// The app's own servers.
    Server,
    /// A partner.
    Partner(PartnerId),
}

/// Events of one call.
pub struct Batch {
    /// The tenant.
    pub app_id: AppId,
    /// Who sends them.
    pub sender: Sender,
    /// Whether with a test key: they lead to messages that are tests, and move nothing live.
    pub test: bool,
    /// When they came, in UTC milliseconds.
    pub received_ms: i64,
    /// The events.
    pub items: Vec<Item>,
}

/// What became of one event of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log under this id.
    Accepted(EventId),
    /// It was there already.
    Duplicate(EventId),
    /// Another event with the same id is there; this one has no effect.
    Conflict(EventId),
    /// The caller may not say this.
    Refused(FieldError),
}

/// The log; cheap to clone.
#[derive(Clone)]
pub struct Log {
    group: GroupCommit<Job, Vec<Outcome>>,
    places: Places,
    /// Wakes the worker of dwells and silent visits.
    pub timer_hint: Hint,
    platform: Platform,
}

/// What shares the log's transactions.
#[derive(Clone)]
enum Job {
    Batch(Arc<Batch>),
    /// Let the clock fire what is due: in the same line, so that a visit is judged by one at a time.
    Tick,
}

impl Sender {
    /// The source of an item.
    pub(super) fn source(self, item: &Item) -> Option<Source> {
        match (self, &item.subject) {
            (Self::User(id), _) => Some(Source::User(id)),
            (Self::Installation, Subject::Device(id)) => Some(Source::Device(*id)),
            (Self::Installation, _) => None,
            (Self::Server, _) => Some(Source::Server),
            (Self::Partner(id), _) => Some(Source::Partner(id)),
        }
    }

    /// The partner behind the events.
    pub(super) fn partner(self) -> Option<PartnerId> {
        match self {
            Self::Partner(id) => Some(id),
            Self::User(_) | Self::Installation | Self::Server => None,
        }
    }

    /// The user who sends.
    pub(super) fn user(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Installation | Self::Server | Self::Partner(_) => None,
        }
    }

    /// The sender as known now: whoever was anonymous may be an account's user by now.
    pub(super) fn as_of(self, meant: impl Fn(UserId) -> Option<UserId>) -> Self {
        match self {
            Self::User(id) => Self::User(meant(id).unwrap_or(id)),
            Self::Installation | Self::Server | Self::Partner(_) => self,
        }
    }

    /// Whether this sender may speak of this subject.
    pub(super) fn may_speak_of(self, subject: &Subject, user: Option<UserId>) -> bool {
        match self {
            Self::User(own) => user == Some(own),
            Self::Installation => matches!(subject, Subject::Device(_)),
            Self::Server | Self::Partner(_) => true,
        }
    }
}

impl Log {
    /// Opens the log. Call it inside a tokio runtime.
    pub fn open(platform: &Platform, places: &Places) -> Self {
        let floor = Floor {
            ids: platform.ids.clone(),
            places: places.clone(),
            future_tolerance_ms: platform.config.future_tolerance_ms,
            master_key: platform.master_key.clone(),
        };
        let hint = platform.lane_hint.clone();
        platform.cache.subscribe(WORK_TOPIC, move |_| hint.nudge());
        let clock = platform.clock.clone();
        let apply = move |conn: &mut Conn, jobs: &[Job]| apply(conn, &floor, (jobs, clock.now_ms()));
        Self {
            group: GroupCommit::start(platform.store.clone(), LIMITS, apply),
            places: places.clone(),
            timer_hint: Hint::default(),
            platform: platform.clone(),
        }
    }

    /// Records events; the answer comes after the commit, in the order of the items.
    ///
    /// # Errors
    /// `Busy` when nothing was recorded: the caller tries again with the same ids.
    pub async fn ingest(&self, batch: Batch) -> Result<Vec<Outcome>> {
        if batch.items.is_empty() {
            return Ok(Vec::new());
        }
        let weight = batch.items.iter().map(Item::weight).fold(0, u32::saturating_add);
        let moves = batch.items.iter().any(|item| item.location.is_some());
        if planted(Bug::AckBeforeCommit) {
            let outcomes = batch.items.iter().map(|_| Outcome::Accepted(self.platform.ids.next())).collect();
            let log = self.clone();
            tokio::spawn(async move {
                let _ = log.group.submit(Job::Batch(Arc::new(batch)), weight).await;
                log.tell();
            });
            return Ok(outcomes);
        }
        let outcomes = self.group.submit(Job::Batch(Arc::new(batch)), weight).await?;
        self.tell();
        if moves {
            self.timer_hint.nudge();
        }
        Ok(outcomes)
    }

    /// Wakes the lanes, here and on other nodes.
    fn tell(&self) {
        self.platform.cache.publish(WORK_TOPIC, "lane");
    }

    /// The places in memory.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The worker of dwells and silent visits.
    pub fn worker(&self) -> Worker {
        let log = self.clone();
        Worker::new("place-timer", self.timer_hint.clone(), TIMER_POLL_MS, move || {
            let log = log.clone();
            async move { log.step().await }
        })
    }

    async fn step(&self) -> Result<Progress> {
        let now_ms = self.platform.clock.now_ms();
        let next_ms = self.platform.store.read(crate::place::next_due_ms).await?;
        match next_ms {
            None => Ok(Progress::Idle),
            Some(due_ms) if due_ms > now_ms => Ok(Progress::Until(due_ms)),
            Some(_) => {
                self.group.submit(Job::Tick, 0).await?;
                self.tell();
                Ok(Progress::More)
            }
        }
    }
}

fn apply(conn: &mut Conn, floor: &Floor, (jobs, now_ms): (&[Job], i64)) -> Result<Vec<Vec<Outcome>>> {
    let batches: Vec<&Batch> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Batch(batch) => Some(batch.as_ref()),
            Job::Tick => None,
        })
        .collect();
    let mut outcomes = ingest::ingest(conn, floor, &batches)?.into_iter();
    if jobs.iter().any(|job| matches!(job, Job::Tick)) {
        timer::tick(conn, floor, now_ms)?;
    }
    jobs.iter()
        .map(|job| match job {
            Job::Batch(_) => outcomes.next().ok_or_else(|| Error::broken("a batch without an answer")),
            Job::Tick => Ok(Vec::new()),
        })
        .collect()
}

//! The story, live: gather in one read, decide without a wait, commit in one transaction, hand the messages over.

use super::care::Care;
use super::commit::is_stale;
use super::context::Latency;
use super::{direct, feedback, lane, recall, release, walk};
use crate::campaign::Catalogue;
use crate::error::Result;
use crate::id::{CampaignId, ChoiceId, PushId, UserId, WorkId};
use crate::platform::Platform;
use crate::push::{Dispatcher, Gateway};
use crate::worker::{Hint, Progress, Worker};
use std::sync::Arc;

/// Longest wait of a worker whose hint was lost, in milliseconds.
const POLL_MS: u64 = 1_000;

/// What decides about live traffic; cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<Parts>);

/// See [`Live`].
pub(super) struct Parts {
    pub platform: Platform,
    pub catalogue: Catalogue,
    pub dispatcher: Dispatcher,
    /// Wakes the release of held choices.
    pub release_hint: Hint,
    /// Wakes what takes back what was shown.
    pub recall_hint: Hint,
    /// Wakes the walks of direct pushes.
    pub direct_hint: Hint,
    /// Wakes what looks whether direct pushes have ended.
    pub ends_hint: Hint,
    /// The direct push that was looked at last, the app whose audiences were visited last, and the one of which something
    /// was taken back last.
    pub looked: std::sync::Mutex<(String, String)>,
    pub walked: std::sync::Mutex<String>,
    pub recalled: std::sync::Mutex<String>,
    /// One decision follows the other: what was read stays true until it is committed.
    turn: tokio::sync::Mutex<()>,
    /// How the work of the lanes has fared, that of the releases, and that of the walks: whom they meet.
    pub lanes: Care<WorkId>,
    pub releases: Care<ChoiceId>,
    pub walks: Care<(CampaignId, UserId)>,
    pub pushes: Care<(PushId, UserId)>,
}

impl Live {
    /// Puts the parts together.
    pub fn open(platform: &Platform, catalogue: Catalogue, dispatcher: Dispatcher) -> Self {
        Self(Arc::new(Parts {
            platform: platform.clone(),
            catalogue,
            dispatcher,
            release_hint: Hint::default(),
            recall_hint: Hint::default(),
            direct_hint: Hint::default(),
            ends_hint: Hint::default(),
            looked: std::sync::Mutex::default(),
            walked: std::sync::Mutex::default(),
            recalled: std::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            lanes: Care::default(),
            releases: Care::default(),
            walks: Care::default(),
            pushes: Care::default(),
        }))
    }

    /// What the rooms of this story share.
    pub(super) fn parts(&self) -> &Arc<Parts> {
        &self.0
    }

    /// Something that decides, while nothing else does.
    pub(super) async fn turn<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        let _turn = self.0.turn.lock().await;
        step.await
    }

    /// The loops: the lanes, what was held, scheduled campaigns, direct pushes, and what came of messages.
    pub fn workers(&self) -> Vec<Worker> {
        let hints = &self.0.platform;
        let (lanes, held, walks, ended, shown) = (self.clone(), self.clone(), self.clone(), self.clone(), self.clone());
        let (pushes, ends) = (self.clone(), self.clone());
        vec![
            Worker::new("lanes", hints.lane_hint.clone(), POLL_MS, move || {
                let live = lanes.clone();
                async move { live.in_turn(lane::step(&live.0)).await }
            }),
            Worker::new("releases", self.0.release_hint.clone(), POLL_MS, move || {
                let live = held.clone();
                async move { live.in_turn(release::step(&live.0)).await }
            }),
            Worker::new("campaign_runs", hints.timer_hint.clone(), POLL_MS, move || {
                let live = walks.clone();
                async move { live.in_turn(walk::step(&live.0)).await }
            }),
            Worker::new("direct_pushes", self.0.direct_hint.clone(), POLL_MS, move || {
                let live = pushes.clone();
                async move { live.in_turn(direct::step(&live.0)).await }
            }),
            Worker::new("direct_push_ends", self.0.ends_hint.clone(), POLL_MS, move || {
                let live = ends.clone();
                async move { direct::settle(&live.0).await }
            }),
            Worker::new("feedback", hints.feedback_hint.clone(), POLL_MS, move || {
                let live = ended.clone();
                let now_ms = live.0.platform.clock.now_ms();
                async move { live.0.platform.store.write(move |conn| feedback::step(conn, now_ms)).await }
            }),
            Worker::new("recalls", self.0.recall_hint.clone(), POLL_MS, move || {
                let live = shown.clone();
                async move {
                    match recall::step(&live.0).await {
                        Err(error) if is_stale(&error) => Ok(Progress::More),
                        answer => answer,
                    }
                }
            }),
        ]
    }

    /// One step that decides, while no other one does. What has changed in between is looked at again.
    async fn in_turn(&self, step: impl Future<Output = Result<Progress>>) -> Result<Progress> {
        match self.turn(step).await {
            Err(error) if is_stale(&error) => Ok(Progress::More),
            answer => answer,
        }
    }
}

impl Parts {
    /// The predicted latency of the gateways.
    pub fn latency(&self) -> Latency {
        let of = |gateway| self.dispatcher.latency_p95_ms(gateway);
        Latency { apns_ms: of(Gateway::Apns), fcm_ms: of(Gateway::Fcm), webpush_ms: of(Gateway::WebPush) }
    }
}

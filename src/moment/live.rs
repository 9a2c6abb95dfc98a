//! The story, live: gather in one read, decide without a wait, commit in one transaction, hand the messages over.

use super::care::Care;
use super::commit::is_stale;
use super::context::Latency;
use super::{feedback, lane, release, walk};
use crate::campaign::Catalogue;
use crate::error::Result;
use crate::id::{CampaignId, ChoiceId, UserId, WorkId};
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
    /// One decision follows the other: what was read stays true until it is committed.
    turn: tokio::sync::Mutex<()>,
    /// How the work of the lanes has fared, that of the releases, and that of the walks: whom they meet.
    pub lanes: Care<WorkId>,
    pub releases: Care<ChoiceId>,
    pub walks: Care<(CampaignId, UserId)>,
}

impl Live {
    /// Puts the parts together.
    pub fn open(platform: &Platform, catalogue: Catalogue, dispatcher: Dispatcher) -> Self {
        Self(Arc::new(Parts {
            platform: platform.clone(),
            catalogue,
            dispatcher,
            release_hint: Hint::default(),
            turn: tokio::sync::Mutex::default(),
            lanes: Care::default(),
            releases: Care::default(),
            walks: Care::default(),
        }))
    }

    /// The loops: the lanes, what was held, scheduled campaigns, and what came of messages.
    pub fn workers(&self) -> Vec<Worker> {
        let hints = &self.0.platform;
        let (lanes, held, walks, ended) = (self.clone(), self.clone(), self.clone(), self.clone());
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
            Worker::new("feedback", hints.feedback_hint.clone(), POLL_MS, move || {
                let live = ended.clone();
                async move { live.0.platform.store.write(feedback::step).await }
            }),
        ]
    }

    /// One step that decides, while no other one does. What has changed in between is looked at again.
    async fn in_turn(&self, step: impl Future<Output = Result<Progress>>) -> Result<Progress> {
        let _turn = self.0.turn.lock().await;
        match step.await {
            Err(error) if is_stale(&error) => Ok(Progress::More),
            answer => answer,
        }
    }
}

impl Parts {
    /// The predicted latency of the gateways.
    pub fn latency(&self) -> Latency {
        Latency { apns_ms: self.dispatcher.latency_p95_ms(Gateway::Apns), fcm_ms: self.dispatcher.latency_p95_ms(Gateway::Fcm) }
    }
}

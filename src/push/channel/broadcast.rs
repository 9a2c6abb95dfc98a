//! One broadcast: checked, rendered and measured before it is stored. Pure.

use super::google;
use super::store::Channel;
use crate::clock::{HOUR_MS, Time};
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, BroadcastId, ChannelId};
use crate::push::activity::{BROADCAST_LIMIT_BYTES, Event, Frame};
use crate::push::message::{Attempt, Gateway, Mode, State};

/// How long a broadcast without a time at which its state goes stale is worth sending, in milliseconds.
const USEFUL_MS: i64 = HOUR_MS;
/// How far ahead its deadline may lie, which is also for how long Apple keeps one, in milliseconds.
const DEADLINE_MAX_MS: i64 = 8 * HOUR_MS;

/// A broadcast as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// The tenant.
    pub app_id: AppId,
    /// Its id; the UUID in it is the `apns-request-id`.
    pub id: BroadcastId,
    /// Over which channel.
    pub channel_id: ChannelId,
    /// What it does to the activities that listen.
    pub event: Event,
    /// As the gateway gets it.
    pub payload: String,
    /// 10: at once, out of an hourly budget of each phone; 5 and 1 cost none.
    pub priority: i64,
    /// Until when the gateway may keep it, UTC milliseconds; 0: now or never.
    pub keep_until_ms: i64,
    /// What to do when nobody knows whether it has arrived.
    pub mode: Mode,
    /// Its life.
    pub state: State,
    /// Why it is in this state.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempt: i64,
    /// Each try.
    pub attempts: Vec<Attempt>,
    /// When it is to go next, UTC milliseconds.
    pub due_ms: i64,
    /// Not at or after this time, UTC milliseconds.
    pub deadline_ms: i64,
    /// When it was stored, UTC milliseconds.
    pub created_ms: i64,
    /// Since when it is being sent, UTC milliseconds.
    pub sending_ms: Option<i64>,
    /// When it ended, UTC milliseconds.
    pub ended_ms: Option<i64>,
    /// What makes a request that is sent again known.
    pub key_hash: Option<String>,
    /// What it said.
    pub body_hash: String,
}

/// A broadcast to be stored.
#[derive(Debug, Clone)]
pub struct NewBroadcast {
    /// The tenant.
    pub app_id: AppId,
    /// Its id.
    pub id: BroadcastId,
    /// Over which channel.
    pub channel_id: ChannelId,
    /// Whether a test key is behind it.
    pub test: bool,
    /// What it does.
    pub event: Event,
    /// What it shows.
    pub frame: Frame,
    /// 1, 5 or 10.
    pub priority: i64,
    /// Not after this time; by default when its state goes stale, else an hour from now.
    pub deliver_by: Option<Time>,
    /// What to do when nobody knows.
    pub mode: Mode,
    /// See [`Broadcast`].
    pub key_hash: Option<String>,
    /// See [`Broadcast`].
    pub body_hash: String,
    /// Now, UTC milliseconds.
    pub now_ms: i64,
}

impl NewBroadcast {
    /// The row, rendered.
    ///
    /// # Errors
    /// 400 that names the field.
    pub(super) fn row(&self, channel: &Channel, timestamp_s: i64) -> Result<Broadcast> {
        let now_ms = self.now_ms;
        let deadline_ms = match self.deliver_by {
            Some(at) if (now_ms + 1..=now_ms + DEADLINE_MAX_MS).contains(&at.0) => at.0,
            Some(_) => return Err(Error::invalid("deliver_by", "out_of_range", "must lie ahead, by eight hours at most")),
            None => self.frame.stale_ms.map_or(now_ms + USEFUL_MS, |at_ms| at_ms.min(now_ms + DEADLINE_MAX_MS)),
        };
        let payload = match channel.gateway {
            Gateway::Fcm => google::render(self, (channel, timestamp_s, deadline_ms))?,
            Gateway::Apns | Gateway::WebPush => {
                let payload = self.frame.render((self.event, timestamp_s), None, None);
                self.frame.check_size(None, (payload.len(), BROADCAST_LIMIT_BYTES))?;
                payload
            }
        };
        Ok(Broadcast {
            app_id: self.app_id,
            id: self.id,
            channel_id: self.channel_id,
            event: self.event,
            payload,
            priority: self.priority,
            // Apple refuses an expiration where it keeps nothing.
            keep_until_ms: if channel.keeps_latest { deadline_ms } else { 0 },
            mode: self.mode,
            state: State::Queued,
            reason: None,
            attempt: 0,
            attempts: Vec::new(),
            due_ms: now_ms,
            deadline_ms,
            created_ms: now_ms,
            sending_ms: None,
            ended_ms: None,
            key_hash: self.key_hash.clone(),
            body_hash: self.body_hash.clone(),
        })
    }
}

/// The broadcast that was stored under the same `Idempotency-Key`, when it said the same.
///
/// # Errors
/// 422 when it did not.
pub(super) fn same(known: Broadcast, new: &NewBroadcast) -> Result<Broadcast> {
    if known.body_hash == new.body_hash {
        return Ok(known);
    }
    let detail = "Another broadcast was sent with this Idempotency-Key. Take a new key for another body.";
    Err(Problem::new(422, "idempotency_key_reused", detail).field("Idempotency-Key", "invalid", detail).into())
}

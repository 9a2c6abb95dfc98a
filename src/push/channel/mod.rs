//! Channels: one push reaches every phone that listens to one. With Apple it is a broadcast channel (iOS 18), which Apple
//! makes and names; with Google a topic of the channel's own id, to which the app on a phone subscribes.
//!
//! A broadcast is stored before it is sent and lives as a message does; of one channel one is on its way at a time, and a
//! newer one takes the place of those that wait: what they said is no longer so. There is nothing of a person in it.

mod apple;
mod broadcast;
mod courier;
mod google;
pub mod http;
mod store;

pub use apple::{Answered, Refusal, verdict};
pub use broadcast::{Broadcast, NewBroadcast};
pub use store::{Channel, Life};

use super::dispatch::Dispatcher;
use super::route::Route;
use crate::error::{Error, Result};
use crate::id::{AppId, BroadcastId, ChannelId};
use crate::platform::Platform;
use crate::store::Conn;
use crate::worker::{Hint, Worker};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Most channels of an app in one of Apple's worlds, which is Apple's own limit; and as many of Google's topics.
const CHANNELS_LIMIT: i64 = 10_000;
/// How far the time stamps of an activity may run ahead of the clock, in seconds: they are whole seconds and rise with
/// each update.
const AHEAD_S: i64 = 60;

/// Channels and what goes out over them; cheap to clone.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    platform: Platform,
    dispatcher: Dispatcher,
    hint: Hint,
    bag: tokio::sync::Mutex<courier::Bag>,
    /// Whose turn it is among lanes that have no connection yet.
    turn: AtomicUsize,
}

impl Channels {
    /// Opens the room and takes up what a crash has left: nobody knows what became of broadcasts that were on their way.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(platform: &Platform, dispatcher: &Dispatcher) -> Result<Self> {
        let now_ms = platform.clock.now_ms();
        let stranded = platform.store.write(move |conn| courier::recover(conn, now_ms)).await?;
        if stranded > 0 {
            tracing::warn!(stranded, "broadcasts were on their way when this server stopped; nobody knows whether they arrived");
        }
        let (platform, dispatcher) = (platform.clone(), dispatcher.clone());
        let (hint, bag) = (Hint::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Inner { platform, dispatcher, hint, bag, turn: AtomicUsize::new(0) })))
    }

    /// The loop that sends broadcasts.
    pub fn worker(&self) -> Worker {
        let me = self.clone();
        Worker::new("broadcast", self.0.hint.clone(), courier::POLL_MS, move || {
            let me = me.clone();
            async move { me.step().await }
        })
    }

    fn platform(&self) -> &Platform {
        &self.0.platform
    }
}

/// Finds a channel that is not deleted.
///
/// # Errors
/// 404.
pub fn find(conn: &mut Conn, app: AppId, id: ChannelId) -> Result<Channel> {
    let found = store::find(conn, app, id)?.filter(|channel| channel.life != Life::Deleted);
    found.ok_or_else(|| Error::not_found("channel"))
}

/// Notes a new channel, before Apple is asked for it.
///
/// # Errors
/// 409 when its key is taken, or there are as many as Apple allows.
pub fn note(conn: &mut Conn, channel: &Channel) -> Result<()> {
    conn.serialise(&format!("channels:{}", channel.app_id))?;
    if store::by_key(conn, channel.app_id, &channel.key)?.is_some() {
        return Err(Error::conflict("key_taken", "There is a channel with this key; delete it, or take another key."));
    }
    if store::count(conn, channel.app_id, (channel.gateway, channel.environment))? >= CHANNELS_LIMIT {
        let detail = format!("An app may have {CHANNELS_LIMIT} channels in one environment; delete those that are over.");
        return Err(Error::conflict("too_many_channels", detail));
    }
    store::insert(conn, channel)
}

/// Stores a broadcast; the older ones of its channel that wait end, and one that is on its way is not tried again. With an
/// `Idempotency-Key` that was seen before, the broadcast of that time is the answer.
///
/// # Errors
/// 404, 409 when the channel is not live, 422 when the key came with another body, 429.
pub fn broadcast(conn: &mut Conn, new: &NewBroadcast) -> Result<(Broadcast, bool)> {
    let &NewBroadcast { app_id: app, channel_id, now_ms, .. } = new;
    conn.serialise(&format!("channels:{app}"))?;
    if let Some(known) = store::known(conn, app, new.key_hash.as_deref())? {
        return broadcast::same(known, new).map(|known| (known, false));
    }
    let channel = find(conn, app, channel_id)?;
    if channel.life != Life::Live {
        return Err(Error::conflict("channel_not_live", "The channel is being made or deleted; read it to see how far that is."));
    }
    if new.test && !channel.test {
        return Err(Error::forbidden("A test key broadcasts over channels that a test key has made."));
    }
    let timestamp_s = rising(channel.timestamp_s, now_ms)?;
    let row = new.row(&channel, timestamp_s)?;
    store::supersede(conn, (app, channel_id), now_ms)?;
    store::stamp(conn, (app, channel_id), timestamp_s)?;
    store::add(conn, &row)?;
    Ok((row, true))
}

/// The time stamp after this one: strictly later, since phones show the latest and drop what is older.
///
/// # Errors
/// 429 when they run too far ahead of the clock.
pub fn rising(last_s: i64, now_ms: i64) -> Result<i64> {
    let now_s = now_ms.div_euclid(1_000);
    let next_s = now_s.max(last_s + 1);
    if next_s > now_s + AHEAD_S {
        let detail = "Apple tells updates apart by whole seconds: send one a second at most, the newest state alone.";
        let mut problem = crate::error::Problem::new(429, "too_many_updates", detail);
        problem.retry_after_s = Some(1);
        return Err(problem.into());
    }
    Ok(next_s)
}

/// A broadcast of a channel.
///
/// # Errors
/// 404.
pub fn find_broadcast(conn: &mut Conn, app: AppId, (channel, id): (ChannelId, BroadcastId)) -> Result<Broadcast> {
    let found = store::broadcast(conn, app, id)?.filter(|broadcast| broadcast.channel_id == channel);
    found.ok_or_else(|| Error::not_found("broadcast"))
}

impl Channel {
    /// Over which connections and under which credential its gateway is told of it.
    pub fn route(&self) -> Route {
        Route { gateway: self.gateway, environment: self.environment, test: self.test, service: None }
    }
}

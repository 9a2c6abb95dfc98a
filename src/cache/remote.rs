//! The part of the cache that lives in Redis: shared budgets, and news from and to the other nodes.

use super::{Budget, Inner};
use crate::config::Secret;
use crate::error::{Error, Result};
use futures_util::StreamExt as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, Client, RedisResult, Script};
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long one command may take before Redis counts as away.
const COMMAND_PATIENCE: Duration = Duration::from_millis(250);
/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// How often Redis is asked whether it is there.
const PULSE: Duration = Duration::from_millis(500);
/// News that may wait while Redis is away; beyond it the other nodes are told that anything may have changed.
const WAITING_MAX: usize = 10_000;
/// Stands for every topic in a message.
const EVERYTHING: &str = "*";

/// Takes ARGV[1] from what is left of ARGV[2] in the window that KEYS[1] names, for ARGV[3] milliseconds.
const TAKE: &str = r"
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

/// See the module.
pub(super) struct Remote {
    manager: ConnectionManager,
    script: Script,
    channel: String,
    /// This process, so that it does not hear itself.
    node: String,
    is_there: AtomicBool,
    nodes: AtomicU32,
    news: mpsc::Sender<String>,
    lost_news: AtomicBool,
}

/// What [`start`] needs beside the cache.
pub(super) struct Loops {
    client: Client,
    news: mpsc::Receiver<String>,
}

impl Remote {
    /// Prepares for a server at this URL; it need not be there.
    pub(super) fn prepare(url: &Secret, channel: String, node: String) -> Result<(Self, Loops)> {
        let wrong =
            |_| Error::broken("KAIROS_REDIS_URL: expected redis://[user:password@]host[:port][/number], or rediss:// for TLS");
        let client = Client::open(url.expose()).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(COMMAND_PATIENCE));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(Error::broken)?;
        let (news, waiting) = mpsc::channel(WAITING_MAX);
        let remote = Self {
            manager,
            script: Script::new(TAKE),
            channel,
            node,
            is_there: AtomicBool::new(false),
            nodes: AtomicU32::new(1),
            news,
            lost_news: AtomicBool::new(false),
        };
        Ok((remote, Loops { client, news: waiting }))
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::SeqCst)
    }

    /// How many nodes shared this Redis when it was last there, at least 1.
    pub(super) fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::SeqCst).max(1)
    }

    /// Takes from the shared budget; `None` when Redis is away. It is then not asked again until it answers a ping.
    pub(super) async fn take(&self, budget: Budget<'_>, cost: u32, now_ms: i64) -> Option<Result<(), i64>> {
        if !self.is_there() {
            return None;
        }
        let key = format!("{}:limit:{}:{}", self.channel, budget.bucket, budget.start_ms(now_ms));
        let mut manager = self.manager.clone();
        let mut call = self.script.key(key);
        call.arg(cost).arg(budget.limit).arg(budget.window_ms.saturating_add(60_000));
        match timeout(COMMAND_PATIENCE, call.invoke_async::<i64>(&mut manager)).await {
            Ok(Ok(1)) => Some(Ok(())),
            Ok(Ok(_)) => Some(Err(budget.wait_ms(now_ms))),
            Ok(Err(_)) | Err(_) => {
                self.is_away();
                None
            }
        }
    }

    /// Queues news for the other nodes; never waits.
    pub(super) fn tell(&self, topic: &str, payload: &str) {
        if self.news.try_send(format!("{}\n{topic}\n{payload}", self.node)).is_err() {
            self.lost_news.store(true, Ordering::SeqCst);
        }
    }

    fn is_away(&self) {
        if self.is_there.swap(false, Ordering::SeqCst) {
            tracing::warn!("Redis is away: limits are counted on this node alone until it is back");
        }
    }

    /// Asks whether Redis is there, and how many nodes listen.
    async fn pulse(&self) {
        let mut manager = self.manager.clone();
        let count = async {
            let (_, nodes): (String, u32) =
                redis::cmd("PUBSUB").arg("NUMSUB").arg(&self.channel).query_async(&mut manager).await?;
            RedisResult::Ok(nodes)
        };
        match timeout(CONNECT_PATIENCE, count).await {
            Ok(Ok(nodes)) => {
                self.nodes.store(nodes, Ordering::SeqCst);
                if !self.is_there.swap(true, Ordering::SeqCst) {
                    tracing::info!("Redis is there");
                }
            }
            Ok(Err(_)) | Err(_) => self.is_away(),
        }
    }

    async fn send(&self, message: &str) -> bool {
        let mut manager = self.manager.clone();
        let sent = timeout(COMMAND_PATIENCE, manager.publish::<_, _, ()>(&self.channel, message)).await;
        let is_sent = matches!(sent, Ok(Ok(())));
        if !is_sent {
            self.is_away();
        }
        is_sent
    }
}

/// Starts the two loops; they end with the cache.
pub(super) fn start(inner: &Weak<Inner>, loops: Loops) {
    tokio::spawn(listen(inner.clone(), loops.client));
    tokio::spawn(speak(inner.clone(), loops.news));
}

/// Hears the other nodes; when the connection was lost, anything may have changed meanwhile.
async fn listen(inner: Weak<Inner>, client: Client) {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pulse.tick().await;
        let Some(channel) = inner.upgrade().and_then(|i| i.remote.get().map(|remote| remote.channel.clone())) else { return };
        let Ok(Ok(listening)) = timeout(CONNECT_PATIENCE, client.get_async_pubsub()).await else { continue };
        let (mut sink, mut stream) = listening.split();
        let Ok(Ok(())) = timeout(CONNECT_PATIENCE, sink.subscribe(&channel)).await else { continue };
        match inner.upgrade() {
            Some(inner) => inner.hear_everything(),
            None => return,
        }
        loop {
            tokio::select! {
                message = stream.next() => {
                    let (Some(message), Some(inner)) = (message, inner.upgrade()) else { break };
                    if let Ok(text) = message.get_payload::<String>() {
                        hear(&inner, &text);
                    }
                }
                // A connection that died without a word would be believed for ever.
                _ = pulse.tick() => {
                    if inner.strong_count() == 0 || !matches!(timeout(CONNECT_PATIENCE, sink.ping::<redis::Value>()).await, Ok(Ok(_))) {
                        break;
                    }
                }
            }
        }
    }
}

fn hear(inner: &Inner, text: &str) {
    let mut parts = text.splitn(3, '\n');
    let (Some(node), Some(topic), Some(payload)) = (parts.next(), parts.next(), parts.next()) else { return };
    if inner.remote.get().is_some_and(|remote| remote.node == node) {
        return;
    }
    if topic == EVERYTHING {
        inner.hear_everything();
    } else {
        inner.hear(topic, payload);
    }
}

/// Tells the other nodes, in order; what cannot be sent waits until Redis is back.
async fn speak(inner: Weak<Inner>, mut news: mpsc::Receiver<String>) {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unsent: Option<String> = None;
    loop {
        tokio::select! {
            message = news.recv(), if unsent.is_none() => match message {
                Some(message) => unsent = Some(message),
                None => return,
            },
            _ = pulse.tick() => {
                let Some(inner) = inner.upgrade() else { return };
                let Some(remote) = inner.remote.get() else { return };
                remote.pulse().await;
                if remote.is_there() && remote.lost_news.swap(false, Ordering::SeqCst) {
                    let message = format!("{}\n{EVERYTHING}\n", remote.node);
                    if !remote.send(&message).await {
                        remote.lost_news.store(true, Ordering::SeqCst);
                    }
                }
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        let Some(remote) = inner.remote.get() else { return };
        if let Some(message) = unsent.take_if(|_| remote.is_there())
            && !remote.send(&message).await
        {
            unsent = Some(message);
        }
    }
}

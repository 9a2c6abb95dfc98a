//! One connection: TCP, TLS, HTTP/2, its slots, its keep-alive, its end.

use super::wire::{Seen, Watched};
use super::{Answer, Says, Target, Trust};
use bytes::Bytes;
use futures_util::future::poll_fn;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use rustls::pki_types::ServerName;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::client::TlsStream;

/// Longest time for TCP, TLS and the peer's SETTINGS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a PING is sent, and how long its answer may take.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for answers: error bodies are small, and nobody should wait for a window.
const WINDOW_BYTES: u32 = 1 << 20;

/// What happened to the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// One was given back by a connection that had none left.
    Slot,
    /// A connection came, went, or changed how many it has.
    Connection,
}

/// Called when slots may have become free.
pub(super) type OnChange = Arc<dyn Fn(Change) + Send + Sync>;

/// An open connection.
pub(super) struct Live {
    sender: Mutex<SendRequest<Bytes>>,
    pub(super) seen: Arc<Seen>,
    /// Streams that the peer allows now; 0 before its SETTINGS.
    allowed: AtomicUsize,
    in_flight: AtomicUsize,
    /// Whether the gateway has let us in: until then one stream is all that it allows.
    warm: AtomicBool,
    lets_in: Says,
    ends: Says,
    closed: AtomicBool,
    changed: Notify,
    on_change: OnChange,
    streams: usize,
}

/// How to open one.
pub(super) struct Opening<'a> {
    pub(super) target: &'a Target,
    pub(super) trust: &'a Trust,
    pub(super) streams: usize,
    pub(super) on_change: OnChange,
}

/// Connects and waits for the peer's SETTINGS.
pub(super) async fn open(opening: Opening<'_>) -> Result<Arc<Live>, String> {
    timeout(CONNECT_TIMEOUT, establish(opening)).await.map_err(|_| "the gateway did not answer in time".to_owned())?
}

async fn establish(opening: Opening<'_>) -> Result<Arc<Live>, String> {
    let Opening { target, trust, streams, on_change } = opening;
    let tcp = target.connect().await?;
    // Without it the two small writes of a request wait 40 ms for each other.
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    let name = ServerName::try_from(target.host.clone()).map_err(|e| format!("not a host name: {e}"))?;
    let tls = trust.0.connect(name, tcp).await.map_err(|e| format!("no TLS: {e}"))?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("the gateway does not speak HTTP/2".to_owned());
    }
    let seen = Arc::new(Seen::default());
    let (sender, mut connection) = h2::client::Builder::new()
        .initial_max_send_streams(0)
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .enable_push(false)
        .max_concurrent_reset_streams(1_000)
        .handshake::<_, Bytes>(Watched::new(tls, Arc::clone(&seen)))
        .await
        .map_err(|e| format!("no HTTP/2: {e}"))?;
    let ping = connection.ping_pong();
    let live = Arc::new(Live {
        sender: Mutex::new(sender),
        seen,
        allowed: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        warm: AtomicBool::new(false),
        lets_in: target.lets_in,
        ends: target.ends,
        closed: AtomicBool::new(false),
        changed: Notify::new(),
        on_change,
        streams,
    });
    tokio::spawn(drive(Arc::downgrade(&live), connection, ping));
    live.settings().await?;
    Ok(live)
}

type Wire = Connection<Watched<TlsStream<TcpStream>>, Bytes>;

/// Moves the connection until its end. It holds the connection weakly: when nobody needs it any more, it ends.
async fn drive(live: std::sync::Weak<Live>, mut connection: Wire, ping: Option<PingPong>) {
    let watched = live.clone();
    let driven = poll_fn(move |cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if let Some(live) = watched.upgrade() {
            live.observe(connection.max_concurrent_send_streams());
        }
        match polled {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::select! {
        () = driven => {}
        () = keep_alive(ping) => tracing::warn!("a gateway connection stopped answering pings"),
    }
    if let Some(live) = live.upgrade() {
        live.close();
    }
}

/// Returns when the peer no longer answers.
async fn keep_alive(ping: Option<PingPong>) {
    let Some(mut ping) = ping else { return std::future::pending().await };
    let mut tick = interval(PING_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        match timeout(PING_TIMEOUT, ping.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection ends by itself; whoever drives it sees that.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

impl Live {
    fn observe(&self, allowed: usize) {
        let before = self.allowed.swap(allowed, Ordering::SeqCst);
        let goodbye = self.seen.goaway() && !self.closed.swap(true, Ordering::SeqCst);
        if before != allowed || goodbye {
            self.changed.notify_waiters();
            (self.on_change)(Change::Connection);
        }
    }

    /// No further request goes over this connection; those in flight may still be answered.
    pub(super) fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.changed.notify_waiters();
            (self.on_change)(Change::Connection);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn is_warm(&self) -> bool {
        self.warm.load(Ordering::SeqCst)
    }

    async fn settings(&self) -> Result<(), String> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_open() {
                return Err("the gateway closed the connection at once".to_owned());
            }
            if self.allowed.load(Ordering::SeqCst) > 0 {
                return Ok(());
            }
            changed.await;
        }
    }

    fn limit(&self) -> usize {
        let allowed = self.allowed.load(Ordering::SeqCst).min(self.streams);
        if self.is_warm() { allowed } else { allowed.min(1) }
    }

    /// How many requests it carries at once.
    pub(super) fn slots(&self) -> usize {
        if self.is_open() { self.limit() } else { 0 }
    }

    /// How many further requests may be opened now.
    pub(super) fn free(&self) -> usize {
        if self.is_open() { self.limit().saturating_sub(self.in_flight.load(Ordering::SeqCst)) } else { 0 }
    }

    /// Takes a slot if one is free.
    pub(super) fn take(&self) -> bool {
        let taken =
            self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < self.limit()).then_some(n + 1)).is_ok();
        if taken && !self.is_open() {
            self.give_back();
            return false;
        }
        taken
    }

    pub(super) fn give_back(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::SeqCst);
        // Waiters are told when the connection was full; otherwise nobody waits for this slot.
        if before >= self.limit() {
            (self.on_change)(Change::Slot);
        }
    }

    /// Whether more are in flight than the peer allows by now: it lowered its limit after the slot was taken.
    pub(super) fn is_over(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) > self.allowed.load(Ordering::SeqCst)
    }

    /// It has answered; from the first answer that lets us in it carries many streams, from one that says so no more.
    pub(super) fn answered(&self, answer: &Answer) {
        if (self.ends)(answer) {
            self.close();
            return;
        }
        if !self.is_warm() && (self.lets_in)(answer) && !self.warm.swap(true, Ordering::SeqCst) {
            (self.on_change)(Change::Connection);
        }
    }

    pub(super) fn with_sender<T>(&self, f: impl FnOnce(&mut SendRequest<Bytes>) -> T) -> T {
        f(&mut self.sender.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

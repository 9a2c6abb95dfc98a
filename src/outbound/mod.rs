//! Requests to others: the HTTP/2 transport to the gateways, and the guarded client for URLs that somebody else chose
//! ([`guarded`]).
//!
//! The transport has many requests in flight on few connections, and tells the truth about each loss.
//!
//! It stands on the crate `h2`, not on hyper, because a push needs three facts that hyper keeps to itself: that a
//! stream slot is in hand *before* the last check, that the frame is queued *within* the call that made this check (so
//! nothing can come between a withdrawn consent or a passed deadline and the wire), and, when an answer never comes,
//! whether the peer can have seen the request at all. The third is read off the frames themselves ([`wire`]).
//!
//! A connection speaks TLS 1.2 or newer with ALPN `h2`, sets `TCP_NODELAY`, waits for the peer's SETTINGS, opens one
//! stream until a first request succeeded, then as many as the peer allows and at most [`Limits::streams`]; beyond that
//! the pool opens another connection. PINGs keep it alive and notice a dead peer. Times here are the machine's, not the
//! domain's: they are about sockets.

pub mod address;
mod connection;
mod exchange;
pub mod guarded;
mod pool;
mod retry_after;
mod tls;
pub mod url;
pub mod wire;

pub use exchange::{Answer, Flying, HandOver, Loss, Outgoing, Slot};
pub use pool::{Limits, Pool, Room, Way};
pub use retry_after::retry_after_ms;
pub use tls::Trust;

use crate::error::{Error, Result};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Connects to a host and port in a way of the caller's own.
pub type Dial = Arc<dyn Fn(String, u16) -> BoxFuture<'static, std::result::Result<TcpStream, guarded::Failure>> + Send + Sync>;

/// Whether an answer says a certain thing of its connection.
pub type Says = fn(&Answer) -> bool;

fn succeeds(answer: &Answer) -> bool {
    answer.status.is_success()
}

/// Where a gateway is.
#[derive(Clone)]
pub struct Target {
    /// Host name or address to connect to and to verify the certificate against.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What `:authority` says: the gateway's own name, also when a stand-in or proxy answers for it.
    pub authority: String,
    /// How to connect; the machine's own way when there is none.
    dial: Option<Dial>,
    /// See [`Target::proven_by`].
    lets_in: Says,
    /// See [`Target::ended_by`].
    ends: Says,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, authority, dial, lets_in: _, ends: _ } = self;
        let judged = dial.is_some();
        f.debug_struct("Target")
            .field("host", host)
            .field("port", port)
            .field("authority", authority)
            .field("judged", &judged)
            .finish()
    }
}

impl Target {
    /// The gateway itself, or what stands in for it at `instead` (an `https://` URL; empty: nobody).
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn new(authority: &str, instead: &str, setting: &str) -> Result<Self> {
        if instead.is_empty() {
            let host = authority.to_owned();
            return Ok(Self { authority: host.clone(), host, port: 443, dial: None, lets_in: succeeds, ends: |_| false });
        }
        let wrong = || Error::broken(format!("{setting}: expected https://host or https://host:port without a path"));
        let rest = instead.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let parsed: http::uri::Authority = rest.parse().map_err(|_| wrong())?;
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = parsed.port_u16().unwrap_or(443);
        Ok(Self { host, port, authority: authority.to_owned(), dial: None, lets_in: succeeds, ends: |_| false })
    }

    /// The server of this name, or name and port.
    ///
    /// # Errors
    /// When it is none.
    pub fn named(authority: &str) -> Result<Self> {
        Self::new(authority, &format!("https://{authority}"), "a host and its port")
    }

    /// The same, connected to in another way.
    #[must_use]
    pub fn by(self, dial: Dial) -> Self {
        Self { dial: Some(dial), ..self }
    }

    /// The same, where other answers than a success open a connection for many streams too: a thousand dead tokens must not
    /// be found out one by one.
    #[must_use]
    pub fn proven_by(self, lets_in: Says) -> Self {
        Self { lets_in, ..self }
    }

    /// The same, where such an answer says that its connection is of no more use: no further request goes over that one.
    #[must_use]
    pub fn ended_by(self, ends: Says) -> Self {
        Self { ends, ..self }
    }

    async fn connect(&self) -> std::result::Result<TcpStream, String> {
        let Some(dial) = &self.dial else {
            return TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| format!("cannot connect: {e}"));
        };
        dial(self.host.clone(), self.port).await.map_err(|failure| format!("cannot connect: {}", failure.word()))
    }
}

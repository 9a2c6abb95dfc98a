//! A strict stand-in for Apple's and Google's gateways: the real wire, every refusal, faults on request, a ledger.
//!
//! It speaks HTTP/2 over TLS under a CA of its own, checks signatures, headers, topics, sizes and shapes as the real
//! ones do, and writes down every push that arrives, in an append-only ledger. That ledger is the oracle: demo and tests
//! judge by it, not by the server's own counters. Which gateway is meant is told by `:authority` and path, so one
//! address stands in for all of them.

mod apns;
mod connection;
mod control;
mod fault;
mod fcm;
mod issue;
mod keys;
mod ledger;
mod phones;
mod tap;
mod tls;

pub use fault::{Fault, GoneTo, Rule};
pub use ledger::Row;
pub use phones::Phone;

use crate::clock::Clock;
use crate::error::{Error, Result};
use bytes::Bytes;
use fault::Faults;
use keys::Keys;
use ledger::Ledger;
use phones::Phones;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpListener;

/// How to open a stand-in.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The clock by which tokens age and arrivals are noted.
    pub clock: Clock,
    /// Where to append the ledger as NDJSON; absent: memory only.
    pub ledger_file: Option<PathBuf>,
    /// Whether a push to a token that was never registered here is taken, if it is well-formed.
    pub any_token: bool,
    /// Streams that a client may open at once on a connection.
    pub streams: u32,
}

/// A running stand-in; cheap to clone. It runs until its last handle is dropped and its runtime ends.
#[derive(Clone)]
pub struct StandIn {
    inner: Arc<Inner>,
    address: SocketAddr,
    ca_pem: Arc<str>,
}

/// What connections and checks share.
struct Inner {
    clock: Clock,
    any_token: bool,
    keys: Keys,
    phones: Phones,
    faults: Faults,
    ledger: Ledger,
    streams: AtomicU32,
}

impl StandIn {
    /// Makes a CA, binds and serves.
    ///
    /// # Errors
    /// When the address is taken or the ledger's file cannot be written.
    pub async fn open(options: Options) -> Result<Self> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|e| Error::broken(format!("the stand-in cannot listen on {}: {e}", options.listen)))?;
        let address = listener.local_addr().map_err(Error::broken)?;
        let (acceptor, ca_pem) = tls::acceptor(address.ip())?;
        let inner = Arc::new(Inner {
            clock: options.clock,
            any_token: options.any_token,
            keys: Keys::default(),
            phones: Phones::default(),
            faults: Faults::default(),
            ledger: Ledger::open(options.ledger_file.as_deref())?,
            streams: AtomicU32::new(options.streams),
        });
        tokio::spawn(connection::accept(Arc::clone(&inner), listener, acceptor));
        Ok(Self { inner, address, ca_pem: ca_pem.into() })
    }

    /// The base URL for `KAIROS_APNS_URL` and `KAIROS_FCM_URL`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The CA that signed its certificate, for `KAIROS_CA_FILE`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Makes an APNs key for these bundle ids and returns what `PUT /v1/push-credentials/apns` takes.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn issue_apns(&self, environment: super::Environment, topics: &[&str]) -> Result<serde_json::Value> {
        issue::apns(&self.inner.keys, environment, topics)
    }

    /// Registers a service account for this project and returns what `PUT /v1/push-credentials/fcm` takes.
    ///
    /// # Errors
    /// Never in practice: only when the built-in key cannot be read.
    pub fn issue_fcm(&self, project_id: &str) -> Result<serde_json::Value> {
        issue::fcm(&self.inner.keys, project_id)
    }

    /// Tells it of a phone, or of a change of one.
    pub fn register(&self, token: impl Into<String>, phone: Phone) {
        self.inner.phones.put(token.into(), phone);
    }

    /// Adds a fault; the oldest that matches a push is used first.
    pub fn inject(&self, rule: Rule) {
        self.inner.faults.add(rule);
    }

    /// Takes all faults back.
    pub fn heal(&self) {
        self.inner.faults.replace(Vec::new());
    }

    /// How many streams a client may open at once on connections from now on.
    pub fn set_streams(&self, streams: u32) {
        self.inner.streams.store(streams, Ordering::SeqCst);
    }

    /// Everything that arrived, in order.
    pub fn ledger(&self) -> Vec<Row> {
        self.inner.ledger.rows()
    }

    /// How many pushes arrived.
    pub fn arrivals(&self) -> usize {
        self.inner.ledger.len()
    }

    /// Access tokens sold so far.
    pub fn exchanges(&self) -> usize {
        self.inner.keys.exchanges()
    }
}

/// An answer of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    status: u16,
    reason: Option<String>,
    body: Bytes,
    retry_after_s: Option<i64>,
    apns_id: Option<String>,
}

impl Reply {
    fn new(status: u16, reason: Option<String>, body: impl Into<Bytes>) -> Self {
        Self { status, reason, body: body.into(), retry_after_s: None, apns_id: None }
    }
}

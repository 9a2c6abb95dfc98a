//! A strict stand-in for Apple's, Google's and browsers' gateways: the real wire, every refusal, faults on request, a ledger.
//!
//! It speaks HTTP/2 over TLS under a CA of its own, checks signatures, headers, topics, sizes and shapes as the real
//! ones do, and writes down every push that arrives, in an append-only ledger. That ledger is the oracle: demo and tests
//! judge by it, not by the server's own counters. Which gateway is meant is told by `:authority` and path, so one
//! address stands in for all of them.

mod android;
mod apns;
mod broadcast;
mod connection;
mod control;
mod fault;
mod fcm;
mod issue;
mod keyring;
mod keys;
mod ledger;
mod phones;
mod spelling;
mod tap;
mod tls;
mod topics;
mod webpush;

pub use fault::{Door, Fault, GoneTo, Quota, Rule};
pub use keyring::Keyring;
pub use ledger::{Row, Summary};
pub use phones::Phone;

use crate::clock::Clock;
use crate::error::{Error, Result};
use bytes::Bytes;
use fault::{Faults, Quotas};
use keys::Keys;
use ledger::Ledger;
use phones::Phones;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tap::Control;
use tokio::net::TcpListener;
use webpush::Browsers;

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
    channels: broadcast::Channels,
    browsers: Browsers,
    topics: topics::Topics,
    faults: Faults,
    ledger: Ledger,
    streams: AtomicU32,
    /// What the next connections meet, and how many of them; absent: all.
    door: Mutex<(Door, Option<u32>)>,
    quotas: Quotas,
    wires: Wires,
}

/// The connections that are open.
#[derive(Default)]
struct Wires(Mutex<Vec<Weak<Control>>>);

impl Wires {
    fn add(&self, control: &Arc<Control>) {
        let mut all = self.all();
        all.retain(|wire| wire.strong_count() > 0);
        all.push(Arc::downgrade(control));
    }

    fn each(&self, tell: impl Fn(&Control)) {
        self.all().iter().filter_map(Weak::upgrade).for_each(|control| tell(&control));
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Control>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What the connection that comes now meets.
    fn door(&self) -> Door {
        let mut state = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let (door, times) = &mut *state;
        match times {
            None => *door,
            Some(0) => {
                (*door, *times) = (Door::Open, None);
                Door::Open
            }
            Some(left) => {
                *left -= 1;
                *door
            }
        }
    }

    fn set_door(&self, door: Door, times: Option<u32>) {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = (door, times);
    }

    /// The limit on streams, from now on and on every connection that is open.
    fn set_streams(&self, streams: u32) {
        self.streams.store(streams, Ordering::SeqCst);
        self.wires.each(|control| control.announce(streams));
    }
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
            channels: broadcast::Channels::default(),
            browsers: Browsers::default(),
            topics: topics::Topics::default(),
            faults: Faults::default(),
            ledger: Ledger::open(options.ledger_file.as_deref())?,
            streams: AtomicU32::new(options.streams),
            door: Mutex::default(),
            quotas: Quotas::default(),
            wires: Wires::default(),
        });
        tokio::spawn(connection::accept(Arc::clone(&inner), listener, acceptor));
        Ok(Self { inner, address, ca_pem: ca_pem.into() })
    }

    /// The base URL for `KAIROS_APNS_URL`, `KAIROS_FCM_URL` and `KAIROS_WEBPUSH_URL`.
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

    /// Subscribes a browser at the push service of this host, with this key of the app's (none: it takes any), and returns
    /// what `subscription` of a device takes.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn subscribe(&self, host: &str, application_server_key: Option<&str>) -> Result<serde_json::Value> {
        webpush::subscribe(&self.inner, host, application_server_key.map(str::to_owned))
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

    /// How many streams a client may open at once from now on; connections that are open are told by SETTINGS.
    pub fn set_streams(&self, streams: u32) {
        self.inner.set_streams(streams);
    }

    /// What the next connections meet; `times` absent: all of them.
    pub fn set_door(&self, door: Door, times: Option<u32>) {
        self.inner.set_door(door, times);
    }

    /// How many messages of a Firebase project are taken in a minute; absent: all.
    pub fn set_quota(&self, quota: Option<Quota>) {
        self.inner.quotas.set(quota);
    }

    /// Ends every connection without a word.
    pub fn cut_all(&self) {
        self.inner.wires.each(Control::cut);
    }

    /// The key is no longer believed, as when it is revoked at Apple.
    pub fn revoke_apns(&self, key_id: &str) {
        self.inner.keys.remove_team(key_id);
    }

    /// The account is no longer believed, as when its key is deleted at Google; tokens that were sold go on.
    pub fn revoke_fcm(&self, client_email: &str) {
        self.inner.keys.remove_account(client_email);
    }

    /// How many different provider tokens were shown under a key.
    pub fn provider_tokens(&self, key_id: &str) -> usize {
        self.inner.keys.shown(key_id)
    }

    /// What the ledger holds, in numbers.
    pub fn summary(&self) -> Summary {
        self.inner.ledger.summary()
    }

    /// Apple's names of the channels of a bundle id.
    pub fn channels(&self, environment: super::Environment, bundle: &str) -> Vec<String> {
        self.inner.channels.names(environment, bundle)
    }

    /// How many channels there may be, and the bundle ids that may have none.
    pub fn rule_channels(&self, most: usize, barred: &[&str]) {
        let barred = barred.iter().map(|bundle| (*bundle).to_owned()).collect();
        self.inner.channels.rule(broadcast::Rules { most: Some(most), barred });
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
    unique_id: Option<String>,
    request_id: Option<String>,
    channel_id: Option<String>,
    location: Option<String>,
}

impl Reply {
    fn new(status: u16, reason: Option<String>, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            reason,
            body: body.into(),
            retry_after_s: None,
            apns_id: None,
            unique_id: None,
            request_id: None,
            channel_id: None,
            location: None,
        }
    }

    /// Whether the phone gets the push: only a browser can still throw it away.
    fn delivers(&self) -> bool {
        (200..300).contains(&self.status) && self.reason.is_none()
    }
}

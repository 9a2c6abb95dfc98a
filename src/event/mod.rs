//! The log of facts, the things that send them, and what the lanes have to judge.
//!
//! [`Log::ingest`] takes events in; what was derived from them (transitions, changes of things) is in the log too.
//! The lanes take [`work`], [`load`] the events, and [`settle`] what became of them.

mod content;
mod derive;
pub mod http;
mod ingest;
mod item;
mod log;
pub mod personal;
mod resolve;
mod schema;
pub mod settle;
mod store;
mod timer;

pub use item::{Item, ItemIn, Location};
pub use log::{Batch, Log, Outcome, Sender};
pub use schema::{Schemas, TYPES_TOPIC};
pub use store::{Link, Thing, WorkRow};

use crate::error::Result;
use crate::id::{AppId, DecisionId, DeviceId, EventId, PartnerId, PlaceId, ThingId, UserId, WorkId};
use crate::store::Conn;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// The type of the event that a change of a thing's declared property is.
pub const THING_CHANGED: &str = "thing.changed";

/// A fact as it is in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The tenant.
    pub app_id: AppId,
    /// Our id of it.
    pub id: EventId,
    /// Who sent it.
    pub source: String,
    /// The sender's id of it.
    pub external_id: String,
    /// Its type.
    pub kind: String,
    /// When it happened, in UTC milliseconds.
    pub occurred_ms: i64,
    /// When it reached us, in UTC milliseconds.
    pub received_ms: i64,
    /// Whom it is about, in the sender's words.
    pub subject: Option<String>,
    /// The user whom it is about.
    pub user_id: Option<UserId>,
    /// The thing that it is about.
    pub thing_id: Option<ThingId>,
    /// The installation that it is about.
    pub device_id: Option<DeviceId>,
    /// The partner that sent it, or the event from which it was derived.
    pub partner_id: Option<PartnerId>,
    /// The place of a transition, or the smallest of the places of a change.
    pub place_id: Option<PlaceId>,
    /// The event from which it was derived.
    pub cause_id: Option<EventId>,
    /// Its properties.
    pub properties: Map<String, Value>,
    /// Where it happened.
    pub location: Option<Location>,
    /// Whether it was sent with a test key, or derived from such an event.
    pub test: bool,
    /// What became of it; absent while the lanes have not judged it.
    pub disposition: Option<Disposition>,
    /// The decisions that it led to.
    pub decision_ids: Vec<DecisionId>,
    /// When it was judged, in UTC milliseconds.
    pub settled_ms: Option<i64>,
}

/// Who sends an event. Ids of events are unique per (app, source, mode of the key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A signed-in user's app.
    User(UserId),
    /// An installation without a sign-in, by the publishable key.
    Device(DeviceId),
    /// The app's own servers.
    Server,
    /// A partner.
    Partner(PartnerId),
    /// We: derived from another event or by the clock.
    Kairos,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(f, "app:{id}"),
            Self::Device(id) => write!(f, "app:{id}"),
            Self::Server => f.write_str("server"),
            Self::Partner(id) => write!(f, "partner:{id}"),
            Self::Kairos => f.write_str("kairos"),
        }
    }
}

impl Source {
    /// The source under which refusals are counted: all phones together.
    fn counted(self) -> String {
        match self {
            Self::User(_) | Self::Device(_) => "app".to_owned(),
            Self::Server | Self::Partner(_) | Self::Kairos => self.to_string(),
        }
    }
}

/// What became of an event. In the order in which they are judged; of several users' the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Beyond the tolerance for clocks that run ahead: recorded, never acted on.
    FromTheFuture,
    /// Nobody and nothing by that name: never matched later.
    UnknownSubject,
    /// A consent that the match needs is missing.
    NoConsent,
    /// Older than its type is useful.
    TooOld,
    /// No moment kind wanted it.
    NoTrigger,
    /// It joined a moment that was open.
    Joined,
    /// Its kind was cooling down.
    CoolDown,
    /// It led to a decision.
    Decided,
    /// Judging it failed again and again, for one of its users at least; the fault is logged.
    Failed,
}

impl Disposition {
    const ALL: [Self; 9] = [
        Self::FromTheFuture,
        Self::UnknownSubject,
        Self::NoConsent,
        Self::TooOld,
        Self::NoTrigger,
        Self::Joined,
        Self::CoolDown,
        Self::Decided,
        Self::Failed,
    ];

    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::FromTheFuture => "from_the_future",
            Self::UnknownSubject => "unknown_subject",
            Self::NoConsent => "no_consent",
            Self::TooOld => "too_old",
            Self::NoTrigger => "no_trigger",
            Self::Joined => "joined",
            Self::CoolDown => "cool_down",
            Self::Decided => "decided",
            Self::Failed => "failed",
        }
    }

    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == word)
    }
}

/// What the lanes say of an event, for one of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The tenant.
    pub app_id: AppId,
    /// The event.
    pub event_id: EventId,
    /// What became of it.
    pub disposition: Disposition,
    /// The decisions that it led to.
    pub decision_ids: Vec<DecisionId>,
}

/// Says that a type of event is wanted by a moment kind: from now on its events go to the lanes.
///
/// # Errors
/// What the database says.
pub fn listen(conn: &mut Conn, app: AppId, kind: &str, now_ms: i64) -> Result<()> {
    store::listen(conn, app, kind, now_ms)
}

/// The oldest work of the lanes, at most `limit` rows, in the order in which it came.
///
/// # Errors
/// What the database says.
pub fn work(conn: &mut Conn, limit: i64) -> Result<Vec<WorkRow>> {
    store::work(conn, limit)
}

/// Takes work off the lanes; part of the transaction that did it.
///
/// # Errors
/// What the database says.
pub fn done(conn: &mut Conn, ids: &[WorkId]) -> Result<()> {
    store::done(conn, ids)
}

/// These events of one app.
///
/// # Errors
/// What the database says.
pub fn load(conn: &mut Conn, app: AppId, ids: &[EventId]) -> Result<HashMap<EventId, Event>> {
    store::load(conn, app, ids)
}

/// These things of one app.
///
/// # Errors
/// What the database says.
pub fn things(conn: &mut Conn, app: AppId, ids: &[ThingId]) -> Result<HashMap<ThingId, Thing>> {
    Ok(store::things_by_ids(conn, app, ids)?.into_iter().map(|thing| (thing.id, thing)).collect())
}

/// Writes what became of events. Of several users' dispositions the last in the order of judging stays.
///
/// # Errors
/// What the database says.
pub fn settle(conn: &mut Conn, settlements: &[Settlement], now_ms: i64) -> Result<()> {
    store::settle(conn, settlements, now_ms)
}

/// How many events an app has: (whether it was sent to us or derived by us, disposition) → count. The disposition is ""
/// for those that the lanes have not judged yet.
///
/// # Errors
/// What the database says.
pub fn tally(conn: &mut Conn, app: AppId) -> Result<BTreeMap<(bool, String), i64>> {
    let own = Source::Kairos.to_string();
    let mut tally = BTreeMap::new();
    for (source, disposition, n) in store::tally(conn, app)? {
        *tally.entry((source != own, disposition)).or_insert(0) += n;
    }
    Ok(tally)
}

/// The most useful age of these types, in milliseconds, where they declare one.
///
/// # Errors
/// What the database says.
pub fn max_useful_ages(conn: &mut Conn, app: AppId, kinds: &[String]) -> Result<HashMap<String, i64>> {
    let rules = store::rules(conn, app, kinds)?;
    Ok(rules.into_iter().filter_map(|(kind, rule)| rule.max_useful_age_ms.map(|ms| (kind, ms))).collect())
}

/// Makes many things at once: seeding and import.
///
/// # Errors
/// 409 when a key is taken.
pub fn things_create_many(conn: &mut Conn, app: AppId, things: &[Thing]) -> Result<()> {
    store::insert_things(conn, app, things)
}

/// Makes many links at once: seeding and import.
///
/// # Errors
/// 409 when a thing and a user are linked in this way already.
pub fn links_create_many(conn: &mut Conn, app: AppId, links: &[Link]) -> Result<()> {
    store::insert_links(conn, app, links)
}

/// The lane of a user: all that concerns one user is judged in one lane, in order.
pub fn lane(app: AppId, user: UserId) -> i64 {
    let mixed = (app.uuid().as_u128() ^ user.uuid().as_u128().rotate_left(64)).to_be_bytes();
    // FNV-1a: stable for ever, since lanes are stored.
    let hash =
        mixed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    i64::try_from(hash >> 58).unwrap_or(0)
}

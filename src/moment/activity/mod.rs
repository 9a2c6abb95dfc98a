//! Live Activities: something that goes on for somebody, started, kept up to date and ended on their iPhones.
//!
//! A **start** is a direct push by the app's own back end: purpose, class and topic as its sender names them, gates 2 to 7,
//! a stored decision about each user. In quiet time it is held like any other, as long as its deadline allows. It goes to
//! devices that have said a start token for the type; the permission to show messages is another one and not asked.
//!
//! An **update** or an **end** speaks of what the person sees already and would see stale without it. It needs the consent
//! and the topic of the start, which is asked each time. Beyond that it is of class `critical`, in the sense of §4: a state
//! that changes on a screen is no message that anybody hears, so pauses, quiet hours, caps and gaps do not hold it, and it
//! counts in none of them. What does make itself heard is its alert: in a pause or in quiet time the state comes without.
//!
//! A newer update takes the place of those that wait; phones drop what carries an older time stamp. An update for a phone
//! that has not said its update token yet waits for it until its deadline. An activity over a broadcast channel is updated
//! there, once for everybody.
//!
//! Apple shows an activity for eight hours, and four more on the lock screen; then its tokens are forgotten.

mod begin;
pub mod http;
pub mod personal;
mod phone;
mod spec;
mod store;
mod update;

pub(super) use store::{reach, terms_of};

use crate::clock::HOUR_MS;
use crate::error::{Error, Result};
use crate::id::{ActivityId, AppId, PushId};
use crate::moment::direct::results::{self, ResultOut};
use crate::platform::Platform;
use crate::store::Conn;
use store::Activity;

/// How long Apple keeps an activity up to date, and how long it stays on the lock screen after that, in milliseconds.
const ACTIVE_MS: i64 = 8 * HOUR_MS;
const LINGERS_MS: i64 = 4 * HOUR_MS;
/// How long a frame without a time at which its state goes stale is worth sending, in milliseconds.
const USEFUL_MS: i64 = HOUR_MS;
/// The code by which a transaction says that another one with the same key was first.
const TAKEN: &str = "key_taken_meanwhile";
/// Most results that are answered at once.
const RESULTS_MAX: i64 = 5_000;

/// Who asks, and under which key.
struct Sender {
    app: AppId,
    test: bool,
    key: Option<String>,
}

/// What makes a request that is sent again known: hashes of its key and its body.
#[derive(Clone)]
struct Known {
    key_hash: Option<String>,
    body_hash: String,
}

impl Known {
    fn new(platform: &Platform, sender: &Sender, (what, body): (&str, String)) -> Self {
        let derive = |what: &str, text: String| platform.master_key.derive_hex(what, text.as_bytes());
        let Sender { app, test, key } = sender;
        // The same key in the hands of a test is another one: a rehearsal must not swallow what is meant.
        let room = if *test { "test " } else { "" };
        let key_hash = key.as_ref().map(|key| derive("idempotency key", format!("{app}|{room}{what}|{key}")));
        Self { key_hash, body_hash: derive("activity", body) }
    }

    /// Whether what was stored under the key came with the same body.
    fn same(&self, body_hash: &str) -> Result<()> {
        if self.body_hash == body_hash {
            return Ok(());
        }
        let detail = "Another body was sent with this Idempotency-Key. Take a new key for another request.";
        let problem = crate::error::Problem::new(422, "idempotency_key_reused", detail);
        Err(problem.field("Idempotency-Key", "invalid", detail).into())
    }
}

fn taken() -> Error {
    Error::conflict(TAKEN, "Another request with this Idempotency-Key was first.")
}

fn is_taken(error: &Error) -> bool {
    matches!(error, Error::Refused(problem) if problem.code == TAKEN)
}

/// The lock under which tokens of an activity and messages to it are written.
fn lock(conn: &mut Conn, app: AppId, id: ActivityId) -> Result<()> {
    conn.serialise(&format!("activity:{app}:{id}"))
}

/// An activity of this app.
fn find(conn: &mut Conn, app: AppId, id: ActivityId) -> Result<Activity> {
    store::get(conn, app, id)?.ok_or_else(|| Error::not_found("activity"))
}

/// What came of a start or an update for each user and device.
fn results_of(conn: &mut Conn, app: AppId, of: PushId) -> Result<Vec<ResultOut>> {
    results::page(conn, (app, of), ("", RESULTS_MAX))
}

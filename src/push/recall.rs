//! Recalls: a silent push by which the app on the phone takes a shown one back.
//!
//! A recall is a message with an id, a deadline and an end of its own, planned once per message at most. It takes away
//! and says nothing, so it asks for no consent, no wish and no quiet time; it goes to no phone that has become somebody
//! else's. What waits when it is asked back is cancelled and needs none, unless an attempt at it may have arrived; while the
//! original is on its way, its recall waits to hear whether it was taken.

use super::fcm;
use super::message::{Gateway, State};
use super::store::{self, Due, Original, Row};
use crate::clock::HOUR_MS;
use crate::error::{Error, Result};
use crate::id::{AppId, Ids, MessageId, UserId};
use crate::people::device::{self, Platform};
use crate::store::Conn;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// Why what waited was cancelled.
pub const RECALLED: &str = "recalled";
/// Why a recall was not sent: nothing of the original was shown.
pub(super) const NOTHING: &str = "nothing_to_recall";
/// A recall may be handed over for at least this long, in milliseconds: what is shown stays on the phone.
const GOOD_FOR_MS: i64 = HOUR_MS;
/// When to look again at an original that is on its way, in milliseconds.
const LATER_MS: i64 = 1_000;
/// Messages of one call.
pub const BATCH: usize = 500;

/// What a recall did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recalled {
    /// How many had not left and never will.
    pub cancelled: usize,
    /// How many are taken back from the phone.
    pub recalled: usize,
}

impl Recalled {
    /// Counts another call in.
    pub fn add(&mut self, other: Self) {
        self.cancelled += other.cancelled;
        self.recalled += other.recalled;
    }
}

/// Takes messages back, at most [`BATCH`]: those that wait are cancelled, for those that a gateway has taken (or may
/// have) a recall is planned, unless there is one, or something newer has taken its place on the phone. All others stay as
/// they are.
///
/// # Errors
/// What the database says.
pub fn recall(conn: &mut Conn, app: AppId, wanted: &[MessageId], (ids, now_ms): (&Ids, i64)) -> Result<Recalled> {
    let open = store::unended(conn, app, wanted, now_ms)?;
    for id in &open {
        store::cancel(conn, app, (*id, RECALLED), now_ms)?;
    }
    let states = store::states(conn, app, &open)?;
    let cancelled = states.values().filter(|state| **state == State::Cancelled.word()).count();
    let mut originals = store::originals(conn, app, wanted)?;
    let replaced = store::replaced(conn, app, &originals)?;
    originals.retain(|original| !replaced.contains(&original.id));
    if originals.is_empty() {
        return Ok(Recalled { cancelled, recalled: 0 });
    }
    let users: BTreeSet<UserId> = originals.iter().map(|o| o.user_id).collect();
    let devices = device::of_users(conn, app, &users.into_iter().collect::<Vec<_>>())?;
    let mut rows = Vec::with_capacity(originals.len());
    for original in &originals {
        // The token may have changed since; one that is another user's by now is found out by the claim.
        let device = devices.get(&original.user_id).and_then(|all| all.iter().find(|d| d.id == original.device_id));
        let token = device.filter(|d| d.traits.own_kind().is_none()).and_then(|d| d.traits.token.clone());
        let token = token.unwrap_or_else(|| original.token.clone());
        let deadline_ms = original.deadline_ms.max(now_ms + GOOD_FOR_MS);
        let id = ids.next();
        let payload = payload(original, id, deadline_ms)?;
        rows.push(Row::recall(app, original, (id, token, payload), (deadline_ms, now_ms)));
    }
    let recalled = store::insert_recalls(conn, &mut rows)?;
    store::note_recalled(conn, app, &originals.iter().map(|o| o.id).collect::<Vec<_>>(), now_ms)?;
    Ok(Recalled { cancelled, recalled })
}

/// What tells the app on the phone to take a notification back.
fn payload(original: &Original, id: MessageId, deadline_ms: i64) -> Result<String> {
    let Original { decision_id, campaign_id, collapse_id, .. } = original;
    let platform = Platform::named(&original.platform).ok_or_else(|| Error::broken("the outbox holds an unknown platform"))?;
    let payload = match Gateway::of(platform) {
        Gateway::Apns => json!({ "aps": { "content-available": 1 }, "kairos": {
            "message_id": id, "decision_id": decision_id, "campaign_id": campaign_id, "deadline_ms": deadline_ms,
            "recall": original.id, "collapse_id": collapse_id,
        } }),
        // What shows nothing must not be in a hurry, which Google holds against those that are.
        Gateway::Fcm => {
            let mut android = json!({ "priority": "normal" });
            // Under the key of the push that it concerns a phone that was away gets only the later one.
            if fcm::is_named(collapse_id) {
                android["collapseKey"] = json!(collapse_id);
            }
            json!({ "android": android, "data": {
                "kairos_message_id": id, "kairos_decision_id": decision_id, "kairos_campaign_id": campaign_id,
                "kairos_deadline_ms": deadline_ms.to_string(), "kairos_recall": original.id, "kairos_collapse_id": collapse_id,
            } })
        }
        // While the push service still keeps the push, its recall takes its place, under the same topic.
        Gateway::WebPush => json!({ "tag": collapse_id, "data": { "kairos_message_id": id }, "kairos": {
            "message_id": id, "decision_id": decision_id, "campaign_id": campaign_id, "deadline_ms": deadline_ms,
            "recall": original.id, "collapse_id": collapse_id,
        } }),
    };
    Ok(payload.to_string())
}

/// Asks for the recalls among these how their originals have fared: those still on their way are asked again later,
/// those that were never shown need no recall.
pub(super) fn ask(conn: &mut Conn, app: AppId, (due, ends): (&mut Vec<Due>, &mut Vec<i64>), now_ms: i64) -> Result<()> {
    let originals: Vec<MessageId> = due.iter().filter_map(Due::recalls).collect();
    if originals.is_empty() {
        return Ok(());
    }
    let states: HashMap<MessageId, String> = store::states(conn, app, &originals)?;
    let mut later = Vec::new();
    due.retain(|d| {
        let Some(original) = d.recalls() else { return true };
        match states.get(&original).and_then(|word| State::parse(word)) {
            Some(State::Accepted | State::Unknown) => true,
            Some(State::Queued | State::Sending | State::RetryAt) => {
                later.push(d.n);
                false
            }
            Some(State::Rejected | State::Expired | State::Revoked | State::TokenDead | State::Cancelled) | None => {
                ends.push(d.n);
                false
            }
        }
    });
    store::ask_later(conn, &later, now_ms + LATER_MS)
}

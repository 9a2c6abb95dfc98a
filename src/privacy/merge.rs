//! Merges: what an anonymous user did becomes the history of the account that they sign in to.
//!
//! The rules where both have something to say; `turn_over` and `absorb` of each room carry them out:
//!
//! - *Attributes, locale, time zone, external id*: the account's stay; what it does not have is taken over.
//! - *Preferences*: the account's stay, as a whole; without any the anonymous user's are taken over.
//! - *Consents*: a choice is never widened. Of the anonymous user's ledger withdrawals are appended to the
//!   account's, and grants where the account's says nothing of their extent; under their own ids. Grants of somebody who is
//!   not of age at the app's gate, or has not said so, are not.
//! - *Devices* go to the account; a token goes along only when an open session of the account or the app's back end holds
//!   it. Where the account knows the installation already, its own row stays.
//! - *Messages that wait* go to the account and are looked at as any other: they end as `token_dead` where the token did
//!   not go along, as `revoked` where the account's ledger does not allow them.
//! - *Choices* count in the account's caps from the first transaction on.
//! - *Links*: of two that say the same the account's stays. *Positions*: where the account has one, that one counts.
//! - *Decisions* of a scheduled campaign that has decided about both: the account's stays the campaign's decision about it,
//!   the other one stays in the trail.
//! - *Events, moments, decisions, messages, sessions* (ended) get another owner and stay as they are.
//!
//! Then the anonymous user is gone, and events that still name them mean the account.

use super::{LATER_MS, ROOMS, ROWS_PER_STEP, SETTLE_MS, forget};
use crate::error::Result;
use crate::people::merge::{self, Begun};
use crate::platform::Platform;
use crate::platform::personal::{Budget, Merge};
use crate::store::Conn;
use crate::worker::Progress;

/// One step of the worker: rows of the merge that is due first.
pub(super) async fn step(platform: &Platform) -> Result<Progress> {
    let now_ms = platform.clock.now_ms();
    let Some(begun) = platform.store.read(move |conn| merge::next(conn, now_ms)).await? else { return Ok(Progress::Idle) };
    platform.store.write_patiently(move |conn| work(conn, &begun, now_ms)).await?;
    platform.push_hint.nudge();
    Ok(Progress::More)
}

fn work(conn: &mut Conn, begun: &Begun, now_ms: i64) -> Result<()> {
    let &Begun { app, from, into, began_ms, .. } = begun;
    let merge = Merge { app, from, into, now_ms };
    let Some(began_ms) = began_ms else {
        // What decides moves as one, and the anonymous user is hidden with it.
        ROOMS.iter().filter_map(|room| room.turn_over).try_for_each(|turn_over| turn_over(conn, &merge))?;
        return merge::start(conn, begun, now_ms);
    };
    let mut budget = Budget::of(ROWS_PER_STEP);
    ROOMS.iter().filter_map(|room| room.absorb).try_for_each(|absorb| absorb(conn, &merge, &mut budget))?;
    if budget.is_untouched() {
        // What did not go over: preferences and devices that gave way, and the user.
        forget(conn, (app, from), &mut budget)?;
    }
    if !budget.is_untouched() {
        return Ok(());
    }
    match (budget.found_nothing(), began_ms + SETTLE_MS) {
        (true, settled_ms) if settled_ms <= now_ms => merge::end(conn, begun, now_ms),
        (true, settled_ms) => merge::postpone(conn, begun, settled_ms),
        (false, _) => merge::postpone(conn, begun, now_ms + LATER_MS),
    }
}

//! Stops a push: its walk ends, what is held is refused, what is queued is cancelled. What is being sent goes its way. A push
//! that is taken back is stopped first; then what of it was shown goes too.

use super::State;
use super::store::{self, PushRow};
use crate::error::{Error, Result};
use crate::id::{AppId, PushId, UserId};
use crate::moment::commit;
use crate::moment::decision::Reason;
use crate::moment::live::Live;
use crate::moment::recall;
use crate::moment::release;
use crate::moment::store::CampaignRecall;
use crate::push;
use crate::store::Conn;
use serde_json::json;

/// Held choices of one transaction.
const BATCH: i64 = 200;
/// Decisions whose messages are stopped in one transaction.
const DECISIONS: i64 = 1_000;

impl Live {
    /// Stops a push. One that was stopped before stays so.
    ///
    /// # Errors
    /// 403, 404, 409 `has_ended`.
    pub async fn cancel_push(&self, (app, id): (AppId, PushId), by_test_key: bool) -> Result<()> {
        let (platform, now_ms) = (&self.parts().platform, self.parts().platform.clock.now_ms());
        let ended = platform
            .store
            .write(move |conn| {
                conn.serialise(commit::LOCK)?;
                let row = own(conn, (app, id), by_test_key)?;
                match row.state()? {
                    State::Cancelled => Ok(row.ended_ms.is_some()),
                    State::Done => Err(Error::conflict("has_ended", "The push has ended and can no longer be cancelled.")),
                    State::Scheduled | State::Running => {
                        let stopped = store::stop(conn, app, id)?;
                        if stopped { Ok(false) } else { Err(Error::Busy("the push ended while it was being cancelled")) }
                    }
                }
            })
            .await?;
        if ended { Ok(()) } else { self.stop_waiting((app, id), now_ms).await }
    }

    /// Takes a push back: stops what of it has not left, and begins to take back what has, in the background. Asked again
    /// while that is under way, it goes on; afterwards it begins anew.
    ///
    /// # Errors
    /// 403, 404.
    pub(super) async fn recall_push(&self, (app, id): (AppId, PushId), by_test_key: bool) -> Result<CampaignRecall> {
        let (platform, now_ms) = (&self.parts().platform, self.parts().platform.clock.now_ms());
        let (walk, waits) = platform
            .store
            .write(move |conn| {
                conn.serialise(commit::LOCK)?;
                let row = own(conn, (app, id), by_test_key)?;
                let waits = match row.state()? {
                    State::Done => false,
                    State::Cancelled => row.ended_ms.is_none(),
                    // One that ends at this moment has nothing left to stop.
                    State::Scheduled | State::Running => store::stop(conn, app, id)?,
                };
                Ok((recall::begin(conn, (app, id.uuid().into()), now_ms)?, waits))
            })
            .await?;
        if waits {
            self.stop_waiting((app, id), now_ms).await?;
        }
        self.parts().recall_hint.nudge();
        Ok(walk)
    }

    /// Ends what waits of a push that was stopped. From here on nothing is added to it. Should this be cut short, the look
    /// whether pushes have ended goes on with it.
    async fn stop_waiting(&self, (app, id): (AppId, PushId), now_ms: i64) -> Result<()> {
        let platform = &self.parts().platform;
        while platform.store.write(move |conn| refuse_held(conn, (app, id), now_ms)).await? {}
        let mut from: Option<UserId> = None;
        loop {
            let (_, next) = platform.store.write(move |conn| stop_messages(conn, (app, id), from, now_ms)).await?;
            if next.is_none() {
                break;
            }
            from = next;
        }
        platform.feedback_hint.nudge();
        self.parts().ends_hint.nudge();
        Ok(())
    }
}

/// The push that somebody is about to stop. The pushes of a test key are tests: what is live is none of its business.
fn own(conn: &mut Conn, (app, id): (AppId, PushId), by_test_key: bool) -> Result<PushRow> {
    let row = store::get(conn, app, id)?.ok_or_else(|| Error::not_found("push"))?;
    if by_test_key && !row.test {
        return Err(Error::forbidden("A test key cancels and takes back pushes that a test key has sent."));
    }
    Ok(row)
}

/// Refuses held choices of a cancelled push; whether there may be more.
///
/// # Errors
/// What the database says.
pub(super) fn refuse_held(conn: &mut Conn, (app, id): (AppId, PushId), now_ms: i64) -> Result<bool> {
    conn.serialise(commit::LOCK)?;
    let said = json!({ "at_ms": now_ms, "reason": Reason::Cancelled.name() });
    let held = store::held(conn, (app, id), BATCH)?;
    held.iter().try_for_each(|of| release::refuse(conn, app, *of, (Reason::Cancelled, &said)))?;
    Ok(i64::try_from(held.len()).is_ok_and(|n| n == BATCH))
}

/// Stops the messages of the next decisions of a cancelled push, those about users after one; answers how many messages, and
/// the last of these users when there may be more.
///
/// # Errors
/// What the database says.
pub(super) fn stop_messages(
    conn: &mut Conn,
    of: (AppId, PushId),
    after: Option<UserId>,
    now_ms: i64,
) -> Result<(usize, Option<UserId>)> {
    let from = after.map(|user| user.to_string()).unwrap_or_default();
    let decided = store::decided(conn, of, (&from, false), DECISIONS)?;
    let ids: Vec<_> = decided.iter().map(|one| one.id).collect();
    let stopped = push::outbox::cancel_decisions(conn, of.0, (&ids, Reason::Cancelled.name()), now_ms)?;
    let full = i64::try_from(decided.len()).is_ok_and(|n| n == DECISIONS);
    Ok((stopped, decided.last().filter(|_| full).map(|one| one.user_id)))
}

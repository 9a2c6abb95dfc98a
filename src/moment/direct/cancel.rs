//! Stops a push: its walk ends, what is held is refused, what is queued is cancelled. What is being sent goes its way.

use super::State;
use super::store;
use crate::error::{Error, Result};
use crate::id::{AppId, PushId};
use crate::moment::commit;
use crate::moment::decision::Reason;
use crate::moment::live::Live;
use crate::moment::release;
use crate::push;
use crate::store::Conn;
use serde_json::json;

/// Held choices of one transaction.
const BATCH: i64 = 200;

impl Live {
    /// Stops a push. One that was stopped before stays so.
    ///
    /// # Errors
    /// 404, 409 `has_ended`.
    pub async fn cancel_push(&self, app: AppId, id: PushId) -> Result<()> {
        let (platform, now_ms) = (&self.parts().platform, self.parts().platform.clock.now_ms());
        platform
            .store
            .write(move |conn| {
                conn.serialise(commit::LOCK)?;
                let row = store::get(conn, app, id)?.ok_or_else(|| Error::not_found("push"))?;
                match row.state()? {
                    State::Cancelled => Ok(()),
                    State::Done => Err(Error::conflict("has_ended", "The push has ended and can no longer be cancelled.")),
                    State::Scheduled | State::Running => {
                        if !store::stop(conn, app, id)? {
                            return Err(Error::Busy("the push ended while it was being cancelled"));
                        }
                        push::outbox::cancel_campaign(conn, app, (id.uuid().into(), Reason::Cancelled.name()), now_ms)
                    }
                }
            })
            .await?;
        while platform.store.write(move |conn| refuse_held(conn, (app, id), now_ms)).await? {}
        platform.feedback_hint.nudge();
        self.parts().ends_hint.nudge();
        Ok(())
    }
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

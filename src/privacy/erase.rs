//! Erasure: what happens at once, and the worker that does the rest.

use super::{LATER_MS, ROWS_PER_STEP, SETTLE_MS, forget};
use crate::app;
use crate::error::{Error, Result};
use crate::id::{AppId, SessionId, UserId};
use crate::people::account::{self, SESSIONS_TOPIC};
use crate::people::erasure::{self, Asked, Erasure, State};
use crate::people::{device, merge, profile};
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::platform::personal::Budget;
use crate::platform::{MasterKey, epoch};
use crate::push;
use crate::store::Conn;
use crate::webhook;
use crate::worker::Progress;

/// Asks for a user's erasure. From this answer on nobody signs in as them and nothing reaches them.
///
/// # Errors
/// 404 when there is no such user.
pub(super) async fn ask(platform: &Platform, (app, user): (AppId, UserId), by: String) -> Result<Erasure> {
    let (id, now_ms, outbox) = (platform.ids.next(), platform.clock.now_ms(), platform.clone());
    let write = move |conn: &mut Conn| {
        let undo_ms = app::settings(conn, app)?.erasure_undo_ms;
        let due_ms = now_ms + undo_ms;
        // Sessions before the user's row: who signs up in one of them holds it, and then wants the row.
        account::hold_user(conn, app, user)?;
        let ended = account::personal::end_all(conn, app, user, now_ms)?;
        let (erasure, new) = erasure::begin(conn, app, &Asked { id, user, by, asked_ms: now_ms, due_ms })?;
        if new {
            account::tell_of_erasure(conn, &outbox, (app, user), (undo_ms > 0).then_some(due_ms))?;
            device::personal::drop_tokens(conn, app, user)?;
            push::personal::stop(conn, app, user, now_ms)?;
        }
        Ok(((erasure, ended), Whose::Users(vec![user])))
    };
    let (cache, feedback, mails) = (platform.cache.clone(), platform.feedback_hint.clone(), platform.mail_hint.clone());
    let tell = move |(_, ended): &(Erasure, Vec<SessionId>)| {
        ended.iter().for_each(|id| cache.publish(SESSIONS_TOPIC, &id.to_string()));
        feedback.nudge();
        mails.nudge();
    };
    platform.write_and_fence(app, write, tell).await.map(|(erasure, _)| erasure)
}

/// What a step found.
enum Found {
    /// Rows, which are gone now.
    Rows,
    /// Nothing now; it looks again later.
    Later,
    /// Nothing, and nothing can come any more.
    Nothing,
}

/// One step of the worker: rows of the erasure that is due first.
pub(super) async fn step(platform: &Platform) -> Result<Progress> {
    let now_ms = platform.clock.now_ms();
    let (due, next_ms) = platform.store.read(move |conn| erasure::due(conn, now_ms)).await?;
    let Some(due) = due else { return Ok(next_ms.map_or(Progress::Idle, Progress::Until)) };
    let (key, erasure) = (platform.master_key.clone(), due.clone());
    match platform.store.write_patiently(move |conn| work(conn, &key, (&erasure, now_ms))).await? {
        Found::Rows => {}
        Found::Later => platform.store.scrub().await?,
        Found::Nothing => {
            // First what was deleted leaves the files, then the erasure may say so.
            platform.store.scrub().await?;
            platform.store.write(move |conn| erasure::end(conn, &due, now_ms)).await?;
            metrics::counter!("kairos_erasures_total").increment(1);
        }
    }
    Ok(Progress::More)
}

fn work(conn: &mut Conn, key: &MasterKey, (erasure, now_ms): (&Erasure, i64)) -> Result<Found> {
    let Some(user) = erasure.user else { return Ok(Found::Nothing) };
    if erasure.state == State::Waiting {
        if erasure::start(conn, erasure, now_ms)? {
            let names = names(conn, erasure.app, user)?;
            erasure::bury(conn, key, erasure.app, (&names, now_ms))?;
            account::revoke_apple(conn, (erasure.app, user), now_ms)?;
            webhook::personal::erase(conn, key, (erasure.app, user))?;
        }
        return Ok(Found::Rows);
    }
    let mut budget = Budget::of(ROWS_PER_STEP);
    forget(conn, (erasure.app, user), &mut budget)?;
    if !budget.is_untouched() {
        return Ok(Found::Rows);
    }
    let settled_ms = erasure.began_ms.unwrap_or(now_ms) + SETTLE_MS;
    if budget.found_nothing() && settled_ms <= now_ms {
        return Ok(Found::Nothing);
    }
    let later_ms = if budget.found_nothing() { settled_ms } else { now_ms + LATER_MS };
    erasure::postpone(conn, erasure, later_ms)?;
    Ok(Found::Later)
}

/// All names under which events may speak of a user.
fn names(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<String>> {
    let mut names = vec![user.to_string()];
    names.extend(device::personal::ids(conn, app, user)?.iter().map(ToString::to_string));
    names.extend(merge::personal::names(conn, app, user)?.iter().map(ToString::to_string));
    names.extend(profile::personal::external_id(conn, app, user)?.map(|external| format!("user:{external}")));
    // No event speaks of a user by an address, but an import does.
    names.extend(account::personal::addresses(conn, app, user)?.iter().map(|email| format!("email:{email}")));
    Ok(names)
}

/// Takes an erasure back that is still waiting.
///
/// # Errors
/// 404 when none is waiting; what the database says.
pub(super) async fn restore(platform: &Platform, (app, user): (AppId, UserId)) -> Result<()> {
    let now_ms = platform.clock.now_ms();
    let write = move |conn: &mut Conn| {
        if !erasure::restore(conn, app, user, Some(now_ms))? {
            return Err(Error::not_found("erasure to undo"));
        }
        epoch::bump(conn, app, epoch::Scope::Consent(user))
    };
    platform.store.write(write).await
}

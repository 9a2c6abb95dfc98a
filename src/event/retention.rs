//! Raw fixes of people are forgotten after the app's retention; what followed from them stays.

use super::store;
use crate::app;
use crate::error::Result;
use crate::place;
use crate::platform::Platform;
use crate::worker::{Hint, Progress, Worker};

/// How often to look, in milliseconds.
const POLL_MS: u64 = 600_000;
/// Fixes of one step and app.
const FIXES_PER_STEP: i64 = 2_000;

/// The worker that forgets.
pub(super) fn worker(platform: &Platform) -> Worker {
    let platform = platform.clone();
    Worker::new("fix-retention", Hint::default(), POLL_MS, move || {
        let platform = platform.clone();
        async move { step(&platform).await }
    })
}

async fn step(platform: &Platform) -> Result<Progress> {
    let now_ms = platform.clock.now_ms();
    let due = platform.store.read(move |conn| {
        let mut due = Vec::new();
        for (app, oldest_ms) in store::oldest_fixes(conn)? {
            let before_ms = now_ms - app::settings(conn, app)?.location_retention_ms;
            if oldest_ms < before_ms {
                due.push((app, before_ms));
            }
        }
        Ok(due)
    });
    let due = due.await?;
    if due.is_empty() {
        return Ok(Progress::Idle);
    }
    let forget = platform.store.write(move |conn| {
        for (app, before_ms) in due {
            store::lock(conn, app)?;
            place::forget_fixes(conn, app, before_ms)?;
            store::forget_fixes(conn, app, (before_ms, FIXES_PER_STEP))?;
        }
        Ok(())
    });
    forget.await?;
    Ok(Progress::More)
}

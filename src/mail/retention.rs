//! What is no longer of use expires, what was kept for the operator is wiped, what is old is forgotten.

use super::{count, store};
use crate::clock::DAY_MS;
use crate::error::Result;
use crate::platform::Platform;
use crate::worker::{Hint, Progress, Worker};

/// How often to look, in milliseconds.
const POLL_MS: u64 = 60_000;
/// How long the contents of a kept mail can be read, in milliseconds.
const KEPT_MS: i64 = DAY_MS;
/// How long it is known that there was a mail, in milliseconds.
const KNOWN_MS: i64 = 30 * DAY_MS;

/// The worker that tidies.
pub(super) fn worker(platform: &Platform) -> Worker {
    let platform = platform.clone();
    Worker::new("mail-retention", Hint::default(), POLL_MS, move || {
        let platform = platform.clone();
        async move { step(&platform).await }
    })
}

async fn step(platform: &Platform) -> Result<Progress> {
    let now_ms = platform.clock.now_ms();
    let (kept_before_ms, gone_before_ms) = (now_ms - KEPT_MS, now_ms - KNOWN_MS);
    let look = move |conn: &mut crate::store::Conn| store::is_untidy(conn, (now_ms, kept_before_ms, gone_before_ms));
    if !platform.store.read(look).await? {
        return Ok(Progress::Idle);
    }
    let tidy = platform.store.write_patiently(move |conn| {
        let expired = store::expire(conn, now_ms)?;
        store::wipe_kept(conn, kept_before_ms, now_ms)?;
        store::delete(conn, gone_before_ms)?;
        Ok(expired)
    });
    tidy.await?.iter().for_each(|template| count(template, "expired"));
    Ok(Progress::Idle)
}

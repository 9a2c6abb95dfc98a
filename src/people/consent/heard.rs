//! Who was heard to say Global Privacy Control lately, so that the signal costs a look at the ledger once in a while.

use super::{object, objections};
use crate::error::Result;
use crate::id::{AppId, SessionId, UserId};
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use moka::sync::Cache;
use std::time::Duration;

/// Most sessions that are remembered.
const HEARD_MAX: u64 = 200_000;
/// How long one is remembered.
const HEARD_FOR: Duration = Duration::from_secs(600);

/// Sessions whose signal was honoured lately; cheap to clone.
#[derive(Clone)]
pub struct Signals(Cache<SessionId, ()>);

impl Default for Signals {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(HEARD_MAX).time_to_live(HEARD_FOR).build())
    }
}

impl Signals {
    /// Whether these headers carry the signal: `Sec-GPC` with exactly the value 1, in one line at least.
    pub fn in_headers(headers: &actix_web::http::header::HeaderMap) -> bool {
        headers.get_all(super::signal::HEADER).any(|value| value.as_bytes() == b"1")
    }

    /// Honours the signal of a signed-in user: what it withdraws is on disk, and no send that relied on it starts, when
    /// this answers. Within ten minutes a session is asked about once.
    ///
    /// # Errors
    /// What the database says; the signal is honoured at the next call then.
    pub async fn heard(&self, platform: &Platform, (app, user): (AppId, UserId), session: SessionId) -> Result<()> {
        if self.0.contains_key(&session) {
            return Ok(());
        }
        let now_ms = platform.clock.now_ms();
        if !platform.store.read_kept(move |conn| objections(conn, app, user, now_ms)).await?.is_empty() {
            let of = platform.clone();
            let write = move |conn: &mut Conn| {
                let gone = object(conn, app, (user, &of.ids), now_ms)?;
                Ok((gone, Whose::Users(vec![user])))
            };
            platform.write_and_fence(app, write, |_| ()).await?;
        }
        self.0.insert(session, ());
        Ok(())
    }
}

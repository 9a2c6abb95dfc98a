//! A session without credentials, for a program that knows who it is: the phones of the example app.

use super::access::Accounts;
use super::store::{self, Session};
use crate::app::Mode;
use crate::config::Secret;
use crate::error::Result;
use crate::id::{AppId, UserId};

impl Accounts {
    /// Opens a session for a user and answers its access token.
    ///
    /// # Errors
    /// What the database says.
    pub async fn vouch(&self, app_id: AppId, user_id: UserId) -> Result<Secret> {
        let platform = self.platform();
        let now_ms = platform.clock.now_ms();
        let session = Session {
            app_id,
            id: platform.ids.next(),
            user_id,
            mode: Mode::Live.name().to_owned(),
            generation: 0,
            generation_ms: now_ms,
            name: None,
            user_agent: None,
            amr: String::new(),
            auth_ms: now_ms,
            created_ms: now_ms,
            last_used_ms: now_ms,
            ended_ms: None,
            end_reason: None,
        };
        let stored = session.clone();
        platform.store.write(move |conn| store::insert_session(conn, &stored)).await?;
        Ok(Secret::new(self.tokens(&session, 0)?.access))
    }
}

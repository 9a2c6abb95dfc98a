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
        let session = Session::begin((app_id, platform.ids.next()), user_id, Mode::Live, platform.clock.now_ms());
        let stored = session.clone();
        platform.store.write(move |conn| store::insert_session(conn, &stored)).await?;
        Ok(Secret::new(self.tokens(&session, None, 0)?.access))
    }
}

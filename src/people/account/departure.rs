//! Sessions that end: their tokens are refused on every node from the answer on, and pushes no longer reach the devices
//! that they registered.

use super::access::{Accounts, SESSIONS_TOPIC};
use super::challenge::{self, Kind};
use super::refresh::Since;
use super::store::{self, End};
use crate::error::Result;
use crate::id::{AppId, SessionId, UserId};
use crate::people::device;
use crate::platform::fence::Whose;
use crate::store::Conn;
use std::collections::BTreeSet;

/// Sessions ended in one transaction.
const BATCH: i64 = 200;

/// What ended in a transaction.
#[derive(Default)]
pub(super) struct Gone {
    /// Whose tokens are refused.
    pub(super) sessions: Vec<SessionId>,
    /// Whose sends are to let go.
    pub(super) users: Vec<UserId>,
}

impl Gone {
    /// Sessions that ended, and what was bound to them.
    pub(super) fn add(&mut self, sessions: &[SessionId], whose: Whose) {
        self.sessions.extend(sessions);
        match whose {
            Whose::Users(users) => self.users.extend(users),
            // Nothing that ends with a session is every user's.
            Whose::All => {}
        }
    }

    /// What ended in two steps.
    pub(super) fn join(&mut self, other: Self) {
        self.sessions.extend(other.sessions);
        self.users.extend(other.users);
    }
}

/// Ends sessions of a user and takes the tokens from the devices that they registered.
pub(super) fn end(
    conn: &mut Conn,
    (app_id, user): (AppId, UserId),
    sessions: &[SessionId],
    (why, now_ms): (End, i64),
) -> Result<Gone> {
    let mut gone = Gone::default();
    // All of them before the first device: whoever holds a session may be waiting for a device.
    let ordered: Vec<SessionId> = BTreeSet::from_iter(sessions.iter().copied()).into_iter().collect();
    ordered.iter().try_for_each(|id| store::end_session(conn, app_id, *id, (why, now_ms)))?;
    gone.add(&ordered, device::unbind(conn, app_id, user, &ordered)?);
    Ok(gone)
}

/// Ends every session of a user but one: a credential has changed, and nobody who knew the old one stays.
pub(super) fn end_others(
    conn: &mut Conn,
    (app_id, user): (AppId, UserId),
    keep: Option<SessionId>,
    why: (End, i64),
) -> Result<Gone> {
    store::hold_user(conn, app_id, user)?;
    // What was asked for under the old credential is worth nothing under the new one.
    challenge::forget(conn, Kind::ChangeEmail, (app_id, user), why.1)?;
    // Who has shown the old credential and waits at the second factor does not come in either.
    challenge::forget(conn, Kind::SecondFactor, (app_id, user), why.1)?;
    let others = store::others(conn, app_id, user, keep)?;
    end(conn, (app_id, user), &others, why)
}

impl Accounts {
    /// Ends a user's sessions, but one.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn end_all(&self, who: (AppId, UserId), keep: Option<SessionId>) -> Result<()> {
        let now_ms = self.platform().clock.now_ms();
        // In batches, so that a user with very many sessions holds nobody up.
        let mut after = String::new();
        loop {
            let from = after.clone();
            let write = move |conn: &mut Conn| {
                store::hold_user(conn, who.0, who.1)?;
                let open = store::open_sessions(conn, who, Since::EVER, (&from, BATCH))?;
                let ids: Vec<SessionId> = open.iter().map(|session| session.id).collect();
                let ends: Vec<SessionId> = ids.iter().copied().filter(|id| Some(*id) != keep).collect();
                let gone = end(conn, who, &ends, (End::Revoked, now_ms))?;
                Ok((ids.last().copied(), gone))
            };
            match self.write(who.0, write).await? {
                Some(last) => after = last.to_string(),
                None => return Ok(()),
            }
        }
    }

    /// Writes, tells every node which sessions have ended, and answers once the sends to their devices have let go.
    ///
    /// # Errors
    /// What the closure returns; what the database says.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        app_id: AppId,
        write: impl FnOnce(&mut Conn) -> Result<(T, Gone)> + Send + 'static,
    ) -> Result<T> {
        let platform = self.platform();
        let cache = platform.cache.clone();
        let tell = move |(_, sessions): &(T, Vec<SessionId>)| {
            sessions.iter().for_each(|id| cache.publish(SESSIONS_TOPIC, &id.to_string()));
        };
        let write = move |conn: &mut Conn| {
            let (done, Gone { sessions, users }) = write(conn)?;
            Ok(((done, sessions), Whose::Users(users)))
        };
        Ok(platform.write_and_fence(app_id, write, tell).await?.0)
    }
}

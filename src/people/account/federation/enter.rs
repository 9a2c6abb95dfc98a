//! Whom an identity leads to: see the table in the room's first lines.

use super::bad_token;
use super::provider::Vouched;
use super::store::{self, Identity};
use crate::error::Result;
use crate::id::{AppId, IdentityId, UserId};
use crate::people::account::arrival::{Arrival, Entered};
use crate::people::account::proof::{Prover, prove};
use crate::people::account::store::{self as accounts, User};
use crate::store::Conn;
use serde::{Deserialize, Serialize};

/// Somebody for whom an issuer vouches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Guest {
    pub(super) app_id: AppId,
    /// What their identity will be called if it is new.
    pub(super) id: IdentityId,
    pub(super) provider: String,
    pub(super) vouched: Vouched,
    /// Apple's refresh token, sealed for the identity of that name.
    pub(super) refresh_sealed: Option<Vec<u8>>,
}

/// What came of it.
pub(super) enum Led {
    /// They are in.
    In(Entered),
    /// An account has proven the address; its user has to say whether this is them.
    Ask(UserId),
}

impl Guest {
    /// (provider, issuer, subject): who it is, whatever else changes.
    pub(super) fn key(&self) -> (String, String, String) {
        (self.provider.clone(), self.vouched.issuer.clone(), self.vouched.subject.clone())
    }

    /// The identity that has this key, which nobody changes until the end of the transaction.
    pub(super) fn known(&self, conn: &mut Conn) -> Result<Option<Identity>> {
        let (app_id, (provider, issuer, subject)) = (self.app_id, self.key());
        conn.serialise(&format!("identity:{app_id}:{provider}:{issuer}:{subject}"))?;
        store::by_subject(conn, app_id, (&provider, &issuer, &subject))
    }

    /// A user has this identity from now on.
    pub(super) fn link(&self, conn: &mut Conn, user_id: UserId, now_ms: i64) -> Result<Identity> {
        let Vouched { issuer, subject, client_id, email, is_private, .. } = self.vouched.clone();
        let identity = Identity {
            app_id: self.app_id,
            id: self.id,
            user_id,
            provider: self.provider.clone(),
            issuer,
            subject,
            client_id,
            email,
            email_is_private: is_private,
            email_reachable: true,
            email_ms: now_ms,
            refresh_sealed: self.refresh_sealed.clone(),
            created_ms: now_ms,
            last_used_ms: now_ms,
            revoked_ms: None,
        };
        store::insert(conn, &identity)?;
        Ok(identity)
    }

    /// Notes on an identity that it was vouched for again, and what its issuer says by now.
    pub(super) fn seen(&self, conn: &mut Conn, mut identity: Identity, now_ms: i64) -> Result<Identity> {
        let Vouched { client_id, email, is_private, .. } = self.vouched.clone();
        // Sealed for the name that it had; another one was faster, and has its own.
        if identity.refresh_sealed.is_none() && self.refresh_sealed.is_some() && identity.id == self.id {
            (identity.client_id, identity.refresh_sealed) = (client_id, self.refresh_sealed.clone());
        }
        if email.is_some() && email != identity.email {
            (identity.email, identity.email_is_private) = (email, is_private);
            (identity.email_reachable, identity.email_ms) = (true, now_ms);
        }
        (identity.last_used_ms, identity.revoked_ms) = (now_ms, None);
        store::update(conn, &identity)?;
        Ok(identity)
    }
}

/// Lets somebody in, or says who has to be asked. `apart`: they want an account of their own, whoever has the address.
pub(super) fn enter(conn: &mut Conn, arrival: Arrival, (guest, apart): (&Guest, bool)) -> Result<Led> {
    let (app_id, now_ms) = (guest.app_id, arrival.now_ms());
    if let Some(identity) = guest.known(conn)? {
        let user = able(conn, app_id, identity.user_id)?;
        // It may have been unlinked before its user was held.
        let identity = guest.known(conn)?.filter(|identity| identity.user_id == user.id).ok_or_else(bad_token)?;
        guest.seen(conn, identity, now_ms)?;
        return arrival.known(conn, user).map(Led::In);
    }
    match &guest.vouched.email {
        Some(email) if guest.vouched.has_authority => by_address(conn, arrival, (guest, email)).map(Led::In),
        Some(email) if guest.vouched.verified && !apart => match accounts::owner(conn, app_id, email)? {
            Some(owner) => able(conn, app_id, owner).map(|user| Led::Ask(user.id)),
            None => newcomer(conn, arrival, guest).map(Led::In),
        },
        Some(_) | None => newcomer(conn, arrival, guest).map(Led::In),
    }
}

/// Somebody who has shown, by their issuer's word, that they read the mail of an address.
fn by_address(conn: &mut Conn, arrival: Arrival, (guest, email): (&Guest, &str)) -> Result<Entered> {
    let (app_id, now_ms) = (guest.app_id, arrival.now_ms());
    let proven = prove(conn, (app_id, email), Prover::default(), now_ms)?;
    let (mut entered, gone) = match proven.user {
        Some(user) => {
            let user = able(conn, app_id, user)?;
            guest.link(conn, user.id, now_ms)?;
            (arrival.known(conn, user)?, proven.gone)
        }
        None => {
            let entered = newcomer(conn, arrival, guest)?;
            let prover = Prover { user: Some(entered.user.id), session: entered.session_id() };
            (entered, prove(conn, (app_id, email), prover, now_ms)?.gone)
        }
    };
    entered.gone.join(gone);
    Ok(entered)
}

fn newcomer(conn: &mut Conn, arrival: Arrival, guest: &Guest) -> Result<Entered> {
    arrival.hold(conn)?;
    guest.link(conn, arrival.user_id(), arrival.now_ms())?;
    arrival.new_user(conn, false)
}

/// A user who may sign in.
fn able(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<User> {
    accounts::arriving(conn, app_id, id)?.ok_or_else(bad_token)
}

//! Passwords that another system hashed: users who move in keep theirs.
//!
//! The first sign-in with one makes it a password of this system, in the transaction that lets its user in, and the
//! foreign hash is gone. It is compared with the password as it was typed, because the other system saw it so; our own
//! hash sees it in one encoding of Unicode.
//!
//! No answer and no work tells whether an address has been brought in. While an app has any foreign hash, every attempt
//! with a password in that app is one job of the hashing pool: our own hash and one comparison with a foreign one. Whose
//! it is follows from the address alone: the row at the place of the address on a ring of keyed hashes, or the next one. So
//! an address that nobody has costs what its neighbour costs, always the same one, and the costs of unknown addresses are
//! spread as those of known ones are. A comparison counts only when the row is of the address that was said.

mod bring;
mod hash;
mod phc;

pub(in crate::people) use bring::{BroughtIn, To, bring_in, bring_in_new, disable, hold_emails, hold_users};
pub(in crate::people) use hash::ForeignHash;

use super::access::Accounts;
use super::store::{self, Credential, ForeignRow, User};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::platform::{Also, MasterKey};
use crate::store::Conn;
use std::collections::HashSet;

/// An address and a password as somebody said them: the pair that they make here, and the other system's row when the
/// password is that row's.
pub(super) struct Said {
    pub(super) credential: Credential,
    foreign: Option<ForeignRow>,
}

impl Said {
    /// Hashes what was said, and compares it, in one job. The same for every address.
    ///
    /// # Errors
    /// `Busy` when too many are waiting; what the database says.
    pub(super) async fn hear(accounts: &Accounts, (app_id, email): (AppId, String), password: Secret) -> Result<Self> {
        let (platform, place) = (accounts.platform(), place(&accounts.platform().master_key, app_id, &email));
        let neighbour = platform.store.read(move |conn| store::foreign_neighbour(conn, app_id, &place)).await?;
        let also = neighbour.as_ref().map(|row| comparison(&platform.master_key, row)).transpose()?;
        let salt = accounts.salt(app_id, &email);
        let (password_hash, same) = accounts.hasher().hash_and(Some(app_id), (password, salt), also).await?;
        let foreign = neighbour.filter(|row| same && row.email == email);
        Ok(Self { credential: Credential { app_id, email, password_hash }, foreign })
    }

    /// Whose pair it is.
    pub(super) fn holder(&self, conn: &mut Conn) -> Result<Option<UserId>> {
        match self.brought_in(conn)? {
            Some((user, _)) => Ok(Some(user)),
            None => store::holder(conn, &self.credential),
        }
    }

    /// The user whose pair it is, when they may come in. It is of this system's making from now on.
    pub(super) fn account(&self, conn: &mut Conn, now_ms: i64) -> Result<Option<User>> {
        let Some((id, _)) = self.brought_in(conn)? else { return store::account(conn, &self.credential) };
        let Some(user) = store::arriving(conn, self.credential.app_id, id)? else { return Ok(None) };
        self.settle(conn, id, now_ms)?;
        // It may have been taken away before its user was held.
        Ok((store::holder(conn, &self.credential)? == Some(id)).then_some(user))
    }

    /// Makes the pair one of this system, if it is another's. Its user is held.
    pub(super) fn settle(&self, conn: &mut Conn, user: UserId, now_ms: i64) -> Result<()> {
        match self.brought_in(conn)? {
            Some((id, proven)) if id == user => {
                let set = store::set_password(conn, &self.credential, (user, proven), now_ms);
                // Somebody has signed up with the same pair at the same time: what is right now shows the next attempt.
                set.map_err(|error| match error {
                    Error::Refused(_) => Error::Busy("the same pair was claimed at once"),
                    other => other,
                })
            }
            _ => Ok(()),
        }
    }

    /// Whose row it is, unless it has changed since; and whether the address is proven to be theirs. An account that has
    /// this very pair here comes first as long as it is not.
    fn brought_in(&self, conn: &mut Conn) -> Result<Option<(UserId, bool)>> {
        let Some(row) = &self.foreign else { return Ok(None) };
        if store::foreign(conn, row.app_id, row.user_id)?.as_ref() != Some(row) {
            return Ok(None);
        }
        let proven = store::owner(conn, row.app_id, &row.email)? == Some(row.user_id);
        let other = store::holder(conn, &self.credential)?.filter(|holder| *holder != row.user_id);
        Ok((proven || other.is_none()).then_some((row.user_id, proven)))
    }
}

/// The place of an address on the ring.
fn place(key: &MasterKey, app_id: AppId, email: &str) -> String {
    key.derive_hex("foreign password place", format!("{app_id}|{email}").as_bytes())
}

/// For what a hash is sealed.
fn context(app_id: AppId, user: UserId) -> String {
    format!("foreign_passwords|{app_id}|{user}")
}

fn comparison(key: &MasterKey, row: &ForeignRow) -> Result<Also> {
    let sealed = row.sealed.as_ref().ok_or_else(|| Error::broken("a neighbour without a hash"))?;
    let text = key.open(&context(row.app_id, row.user_id), sealed)?;
    let hash = ForeignHash::parse(std::str::from_utf8(&text).map_err(Error::broken)?);
    let hash = hash.map_err(|_| Error::broken("a stored foreign hash cannot be read"))?;
    Ok(Box::new(move |password| hash.is_of(password)))
}

/// Whom an address belongs to: who has proven it, else for whom it was brought in.
pub(in crate::people) fn by_address(conn: &mut Conn, app_id: AppId, email: &str) -> Result<Option<UserId>> {
    match store::owner(conn, app_id, email)? {
        Some(owner) => Ok(Some(owner)),
        None => store::foreign_claim(conn, app_id, email),
    }
}

/// Those of these addresses that somebody has proven, or that were brought in for somebody.
pub(in crate::people) fn taken(conn: &mut Conn, app_id: AppId, emails: &[&str]) -> Result<HashSet<String>> {
    let mut taken = store::owned(conn, app_id, emails)?;
    taken.extend(store::foreign_claimed(conn, app_id, emails)?);
    Ok(taken)
}

//! A secret from a mail, as it was presented: the token of its link, or its code.

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::ClientAddress;
use crate::id::{AppId, ChallengeId, UserId};
use crate::people::account::access::Accounts;
use crate::people::account::challenge::{self, Challenge, Kind};
use crate::people::account::limit::{Attempt, by_address};
use crate::people::account::store;
use crate::store::Conn;

/// See the module.
#[derive(Clone)]
pub(super) enum Presented {
    /// The hash of a link's token.
    Token(String),
    /// A challenge, and the hash of its code.
    Code(ChallengeId, String),
}

impl Presented {
    /// Reads what a body says, as far as it can be a secret.
    ///
    /// # Errors
    /// 400 that names what is missing, or too much.
    pub(super) fn read(
        accounts: &Accounts,
        (token, challenge_id, code): (Option<Secret>, Option<ChallengeId>, Option<Secret>),
    ) -> Result<Self> {
        let platform = accounts.platform();
        match (token, challenge_id, code) {
            (Some(token), None, None) => Ok(Self::Token(challenge::token_hash(platform, token.expose()))),
            (None, Some(id), Some(code)) => Ok(Self::Code(id, challenge::code_hash(platform, id, code.expose().trim()))),
            (None, None, Some(_)) => Err(Error::invalid("challenge_id", "required", "goes with the code")),
            (None, Some(_), None) => Err(Error::invalid("code", "required", "goes with the challenge_id")),
            (None, None, None) => Err(Error::invalid("token", "required", "send token, or challenge_id and code")),
            (Some(_), _, _) => Err(Error::invalid("token", "invalid", "send token, or challenge_id and code, not both")),
        }
    }

    /// Counts the attempt: a code by its address and by where it comes from, a token by where it comes from alone,
    /// because nobody guesses 128 bits.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn attempt(
        &self,
        accounts: &Accounts,
        (app_id, kind): (Option<AppId>, Kind),
        address: ClientAddress,
    ) -> Result<Option<Attempt>> {
        match (self, app_id) {
            (Self::Token(_), _) => by_address(accounts.platform(), address).await.map(|()| None),
            (Self::Code(..), None) => {
                Err(Error::unauthorized("A code wants the publishable key of its app; a link's token does not."))
            }
            (Self::Code(id, _), Some(app_id)) => {
                // Each new mail brings new tries, so they are counted over all mails to one address.
                let email = self.about(accounts, (Some(app_id), kind)).await?.map(|(_, email, _)| email);
                let who = format!("code|{}", email.unwrap_or_else(|| id.to_string()));
                Attempt::begin(accounts.platform(), app_id, &who, address).await.map(Some)
            }
        }
    }

    /// The app, address and user of the secret, if it is one that could be used now. A code is not looked at yet.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn about(
        &self,
        accounts: &Accounts,
        (app_id, kind): (Option<AppId>, Kind),
    ) -> Result<Option<(AppId, String, Option<UserId>)>> {
        let (wanted, now_ms) = (self.clone(), accounts.platform().clock.now_ms());
        let found = accounts.platform().store.read(move |conn| match (wanted, app_id) {
            (Self::Token(hash), _) => store::find(conn, kind, &hash),
            (Self::Code(id, _), Some(app_id)) => store::challenge(conn, app_id, id, kind),
            (Self::Code(..), None) => Ok(None),
        });
        let open = found.await?.filter(|found| found.used_ms.is_none() && now_ms < found.expires_ms);
        let mine = open.filter(|found| app_id.is_none_or(|app_id| app_id == found.app_id));
        Ok(mine.and_then(|found| Some((found.app_id, found.email?, found.user_id))))
    }

    /// Uses the secret up. A wrong code costs a try: commit it, whatever comes back.
    pub(super) fn redeem(
        &self,
        conn: &mut Conn,
        (app_id, kind): (Option<AppId>, Kind),
        now_ms: i64,
    ) -> Result<Option<Challenge>> {
        match (self, app_id) {
            (Self::Token(hash), _) => challenge::redeem(conn, (app_id, kind), (hash, now_ms)),
            (Self::Code(id, hash), Some(app_id)) => challenge::redeem_code(conn, (app_id, kind), (*id, hash), now_ms),
            // A code without an app that asks for it opens nothing.
            (Self::Code(..), None) => Ok(None),
        }
    }
}

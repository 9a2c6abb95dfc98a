//! Ways into a session end here, whatever was proven: a session begins, and what an anonymous user did before stays theirs.
//!
//! Whoever arrives with the access token of an anonymous user keeps that user when they are new (an upgrade in place).
//! When they have an account already, the anonymous user's history is to be merged into it. Either way the anonymous
//! session ends, and the new one takes its place on the phone.

use super::caller::UserToken;
use super::departure::Gone;
use super::methods::{Method, Methods};
use super::store::{self, End, Session, User};
use crate::app::Mode;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::people::device;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::{HeaderMap, USER_AGENT};

/// How much is kept of a client's name of itself, in characters.
const USER_AGENT_MAX: usize = 200;

/// Somebody at the door.
pub(super) struct Arrival {
    session: Session,
    anonymous: Option<UserToken>,
}

/// Who came in.
pub(super) struct Entered {
    pub(super) user: User,
    pub(super) session: Session,
    pub(super) gone: Gone,
}

impl Arrival {
    /// Somebody who was an anonymous user until now, or nobody.
    pub(super) fn new(
        platform: &Platform,
        (app_id, mode): (AppId, Mode),
        headers: &HeaderMap,
        anonymous: Option<UserToken>,
    ) -> Self {
        let now_ms = platform.clock.now_ms();
        let session = Session {
            app_id,
            id: platform.ids.next(),
            user_id: platform.ids.next(),
            mode: mode.name().to_owned(),
            generation: 0,
            generation_ms: now_ms,
            name: None,
            user_agent: user_agent(headers),
            amr: String::new(),
            auth_ms: now_ms,
            created_ms: now_ms,
            last_used_ms: now_ms,
            ended_ms: None,
            end_reason: None,
        };
        Self { session, anonymous }
    }

    /// What they proved.
    #[must_use]
    pub(super) fn by(mut self, methods: &Methods) -> Self {
        self.session.amr = methods.to_string();
        self
    }

    /// Who they will be if they are new.
    pub(super) fn user_id(&self) -> UserId {
        self.anonymous.map_or(self.session.user_id, |token| token.user_id)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.session.created_ms
    }

    /// Makes sure that the anonymous session they come with is open, and that it is replaced once, whatever is asked at
    /// once. First of all in the transaction.
    pub(super) fn hold(&self, conn: &mut Conn) -> Result<()> {
        self.anonymous.map_or(Ok(()), |token| store::keep_open(conn, token.app_id, token.session_id))
    }

    /// A user who has an account comes in.
    pub(super) fn known(mut self, conn: &mut Conn, user: User) -> Result<Entered> {
        self.session.user_id = user.id;
        store::insert_session(conn, &self.session)?;
        let mut gone = Gone::default();
        if let Some(token) = self.anonymous.filter(|token| token.user_id != user.id) {
            store::end_session(conn, token.app_id, token.session_id, (End::Merged, self.session.created_ms))?;
            gone.add(token.session_id, device::unbind(conn, token.app_id, token.user_id, token.session_id)?);
        }
        Ok(Entered { user, session: self.session, gone })
    }

    /// Somebody who is in already has proven again who they are, or has changed how they do: a new session takes the place
    /// of theirs, on its devices too, so that what was stolen before is worth nothing afterwards.
    pub(super) fn again(mut self, conn: &mut Conn, token: UserToken, (proof, why): (Method, End)) -> Result<Entered> {
        let (app_id, now_ms) = (token.app_id, self.session.created_ms);
        store::keep_open(conn, app_id, token.session_id)?;
        let before = store::session(conn, app_id, token.session_id)?.map(|(session, _)| session);
        let user = store::user(conn, app_id, token.user_id)?;
        let (before, user) = before.zip(user).ok_or_else(|| Error::not_found("user"))?;
        self.session.user_id = user.id;
        self.session.amr = Methods::parse(&before.amr)?.and(proof).to_string();
        self.session.name = before.name;
        store::insert_session(conn, &self.session)?;
        store::end_session(conn, app_id, token.session_id, (why, now_ms))?;
        device::rebind(conn, app_id, user.id, (token.session_id, self.session.id))?;
        let gone = Gone { sessions: vec![token.session_id], users: Vec::new() };
        Ok(Entered { user, session: self.session, gone })
    }

    /// Somebody new comes in: the anonymous user, who has an account from now on, or one that is made.
    pub(super) fn new_user(mut self, conn: &mut Conn, anonymous: bool) -> Result<Entered> {
        let &Session { app_id, created_ms: now_ms, .. } = &self.session;
        self.session.user_id = self.user_id();
        let mut gone = Gone::default();
        let user = match self.anonymous {
            Some(token) => {
                store::upgrade_user(conn, app_id, token.user_id, now_ms)?;
                store::end_session(conn, app_id, token.session_id, (End::Upgraded, now_ms))?;
                device::rebind(conn, app_id, token.user_id, (token.session_id, self.session.id))?;
                gone.sessions.push(token.session_id);
                store::user(conn, app_id, token.user_id)?.ok_or_else(|| Error::not_found("user"))?
            }
            None => store::insert_user(conn, app_id, (self.session.user_id, anonymous), now_ms)?,
        };
        store::insert_session(conn, &self.session)?;
        Ok(Entered { user, session: self.session, gone })
    }
}

/// What the client calls itself, as far as it is plain text; the rest of a long name says little.
fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(USER_AGENT_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}

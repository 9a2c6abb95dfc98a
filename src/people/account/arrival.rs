//! Ways into a session end here, whatever was proven: a session begins, and what an anonymous user did before stays theirs.
//!
//! Whoever arrives with the access token of an anonymous user keeps that user when they are new (an upgrade in place).
//! When they have an account already, the anonymous user's history is to be merged into it. Either way the anonymous
//! session ends, and the new one takes its place on the phone.
//!
//! Who has a second factor is asked for it here, whatever the first one was: the session begins when they have shown it,
//! and only then does a user who was leaving stay. The same holds for proving again who one is: of a user with a second
//! factor no session gets fresh without it.

use super::caller::UserToken;
use super::challenge::{self, Challenge, Kind, Wanted};
use super::departure::Gone;
use super::factor::{self, Factor};
use super::methods::{Method, Methods};
use super::store::{self, End, Session, User};
use crate::app::Mode;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::id::{AppId, SessionId, UserId};
use crate::people::{device, merge};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::{HeaderMap, USER_AGENT};
use serde::{Deserialize, Serialize};

/// How much is kept of a client's name of itself, in characters.
const USER_AGENT_MAX: usize = 200;
/// How long one may take to show the second factor, in seconds.
const SECOND_FACTOR_S: i64 = 300;

/// Somebody at the door.
pub(super) struct Arrival {
    platform: Platform,
    session: Session,
    anonymous: Option<UserToken>,
}

/// Who came in, or is asked for a second factor first.
pub(super) struct Entered {
    pub(super) user: User,
    pub(super) door: Door,
    pub(super) gone: Gone,
}

impl Entered {
    /// The session that has begun, unless a second factor is wanted first.
    pub(super) fn session_id(&self) -> Option<SessionId> {
        match &self.door {
            Door::Open(session) => Some(session.id),
            Door::Factor(..) => None,
        }
    }
}

/// What a first factor opens.
pub(super) enum Door {
    /// A session has begun.
    Open(Box<Session>),
    /// One of these is wanted, with this token.
    Factor(Secret, Vec<Factor>, i64),
}

/// What is kept of an arrival until the second factor was shown.
#[derive(Serialize, Deserialize)]
struct Waiting {
    amr: String,
    anonymous: Option<(UserId, SessionId)>,
    /// The session in which they prove once more who they are.
    #[serde(default)]
    within: Option<SessionId>,
}

impl Arrival {
    /// Somebody who was an anonymous user until now, or nobody.
    pub(super) fn new(
        platform: &Platform,
        (app_id, mode): (AppId, Mode),
        headers: &HeaderMap,
        anonymous: Option<UserToken>,
    ) -> Self {
        let mut session = Session::begin((app_id, platform.ids.next()), platform.ids.next(), mode, platform.clock.now_ms());
        session.user_agent = user_agent(headers);
        Self { platform: platform.clone(), session, anonymous }
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
    /// once. Before anything is written for the anonymous user; after the locks that the room's first lines put before it.
    pub(super) fn hold(&self, conn: &mut Conn) -> Result<()> {
        let Some(token) = self.anonymous else { return Ok(()) };
        store::hold_user(conn, token.app_id, token.user_id)?;
        store::keep_open(conn, token.app_id, token.session_id)?;
        match store::user(conn, token.app_id, token.user_id)? {
            Some(user) if user.anonymous => Ok(()),
            // The app's back end has just given them an account.
            _ => Err(Error::unauthorized("This user is anonymous no more: sign in again.")),
        }
    }

    /// A user who has an account comes in, or is asked for a second factor. A passkey is two factors.
    pub(super) fn known(self, conn: &mut Conn, user: User) -> Result<Entered> {
        self.hold(conn)?;
        let methods = Methods::parse(&self.session.amr)?;
        let asked = if methods.is_second() { Vec::new() } else { factor::asked(conn, self.session.app_id, user.id)? };
        if asked.is_empty() {
            return self.admit(conn, user);
        }
        self.ask(conn, user, (asked, None))
    }

    /// Keeps the arrival until a second factor was shown.
    fn ask(self, conn: &mut Conn, user: User, (asked, within): (Vec<Factor>, Option<SessionId>)) -> Result<Entered> {
        let anonymous = self.anonymous.map(|token| (token.user_id, token.session_id));
        let wanted = Wanted {
            app_id: self.session.app_id,
            mode: Mode::parse(&self.session.mode)?,
            kind: Kind::SecondFactor,
            user_id: Some(user.id),
            email: None,
            state: serde_json::to_value(Waiting { amr: self.session.amr, anonymous, within }).map_err(Error::broken)?,
            life_ms: SECOND_FACTOR_S * 1_000,
        };
        let draft = challenge::draft(&self.platform, wanted);
        challenge::open(conn, &draft)?;
        Ok(Entered { user, door: Door::Factor(draft.token, asked, SECOND_FACTOR_S), gone: Gone::default() })
    }

    /// Who was asked for a second factor has shown it. What an anonymous user brought the first time still counts.
    pub(super) fn second(mut self, conn: &mut Conn, waiting: Challenge, method: Method) -> Result<Entered> {
        let Challenge { app_id, mode, user_id, state, .. } = waiting;
        let Waiting { amr, anonymous, within } = serde_json::from_value(state).map_err(Error::broken)?;
        let user = user_id.ok_or_else(|| Error::broken("a second factor of nobody"))?;
        let token = |user_id, session_id| UserToken { app_id, user_id, session_id, mode, proven_ms: None, acting: false };
        self.session.amr = Methods::parse(&amr)?.and(method).to_string();
        if let Some(session) = within {
            return self.again(conn, token(user, session), (method, End::SteppedUp));
        }
        self.anonymous = anonymous.map(|(user_id, session_id)| token(user_id, session_id));
        let user = store::arriving(conn, app_id, user)?.ok_or_else(factor::over)?;
        self.hold(conn)?;
        self.admit(conn, user)
    }

    /// Somebody who is in already proves by their password that it is still them: with a second factor, that one is
    /// wanted too.
    pub(super) fn step_up(self, conn: &mut Conn, token: UserToken) -> Result<Entered> {
        store::hold_user(conn, token.app_id, token.user_id)?;
        store::keep_open(conn, token.app_id, token.session_id)?;
        let asked = factor::asked(conn, token.app_id, token.user_id)?;
        if asked.is_empty() {
            return self.again(conn, token, (Method::Password, End::SteppedUp));
        }
        let user = store::user(conn, token.app_id, token.user_id)?.ok_or_else(|| Error::not_found("user"))?;
        self.by(&Methods::one(Method::Password)).ask(conn, user, (asked, Some(token.session_id)))
    }

    fn admit(mut self, conn: &mut Conn, user: User) -> Result<Entered> {
        self.session.user_id = user.id;
        if !store::arrived(conn, self.session.app_id, user.id, self.session.created_ms)? {
            return Err(Error::unauthorized("This account is being deleted."));
        }
        store::insert_session(conn, &self.session)?;
        let mut gone = Gone::default();
        if let Some(token) = self.anonymous.filter(|token| token.user_id != user.id) {
            let now_ms = self.session.created_ms;
            store::end_session(conn, token.app_id, token.session_id, (End::Merged, now_ms))?;
            // The phone stays with its anonymous user, under the new session, until the merge brings both over.
            device::rebind(conn, token.app_id, token.user_id, (token.session_id, self.session.id))?;
            merge::begin(conn, token.app_id, (token.user_id, user.id), now_ms)?;
            gone.sessions.push(token.session_id);
        }
        Ok(Entered { user, door: Door::Open(Box::new(self.session)), gone })
    }

    /// Somebody who is in already has proven again who they are, or has changed how they do: a new session takes the place
    /// of theirs, on its devices too, so that what was stolen before is worth nothing afterwards.
    pub(super) fn again(mut self, conn: &mut Conn, token: UserToken, (proof, why): (Method, End)) -> Result<Entered> {
        let (app_id, now_ms) = (token.app_id, self.session.created_ms);
        store::hold_user(conn, app_id, token.user_id)?;
        store::keep_open(conn, app_id, token.session_id)?;
        let before = store::session(conn, app_id, token.session_id)?.map(|(session, _)| session);
        let user = store::user(conn, app_id, token.user_id)?;
        let (before, user) = before.zip(user).ok_or_else(|| Error::not_found("user"))?;
        self.session.user_id = user.id;
        let methods = Methods::parse(&self.session.amr)?.and(proof);
        if !methods.is_second() && !factor::asked(conn, app_id, user.id)?.is_empty() {
            // What the session may do is theirs who show the second factor; this was not it.
            self.session.auth_ms = before.auth_ms;
        }
        self.session.amr = Methods::parse(&before.amr)?.with(&methods).to_string();
        self.session.name = before.name;
        store::insert_session(conn, &self.session)?;
        store::end_session(conn, app_id, token.session_id, (why, now_ms))?;
        device::rebind(conn, app_id, user.id, (token.session_id, self.session.id))?;
        let gone = Gone { sessions: vec![token.session_id], users: Vec::new() };
        Ok(Entered { user, door: Door::Open(Box::new(self.session)), gone })
    }

    /// Somebody new comes in: the anonymous user, who has an account from now on, or one that is made.
    pub(super) fn new_user(mut self, conn: &mut Conn, anonymous: bool) -> Result<Entered> {
        self.hold(conn)?;
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
        Ok(Entered { user, door: Door::Open(Box::new(self.session)), gone })
    }
}

/// What the client calls itself, as far as it is plain text; the rest of a long name says little.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    let text: String = text.chars().filter(|c| !c.is_control()).take(USER_AGENT_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}

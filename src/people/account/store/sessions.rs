//! Sessions: begun, refreshed, ended.

use super::super::refresh::{Presented, SessionState, Since, Verdict, judge};
use super::users::{User, user};
use crate::app::Mode;
use crate::error::{Error, Result};
use crate::id::{AppId, SessionId, UserId};
use crate::on;
use crate::store::Conn;
use crate::store::schema::sessions;
use diesel::prelude::*;

/// How often a refresh is judged again because another one came between.
const REFRESH_TRIES: u32 = 5;

/// A sign-in of a user.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
pub struct Session {
    pub app_id: AppId,
    pub id: SessionId,
    pub user_id: UserId,
    pub mode: String,
    pub generation: i64,
    pub generation_ms: i64,
    pub name: Option<String>,
    pub user_agent: Option<String>,
    /// How its user proved who they are.
    pub amr: String,
    /// When they did.
    pub auth_ms: i64,
    pub created_ms: i64,
    pub last_used_ms: i64,
    pub ended_ms: Option<i64>,
    pub end_reason: Option<String>,
    /// Who of the back office acts as the user in it.
    pub actor: Option<String>,
}

impl Session {
    /// A session of a user that begins now, with nothing proven.
    pub fn begin((app_id, id): (AppId, SessionId), user_id: UserId, mode: Mode, now_ms: i64) -> Self {
        Self {
            app_id,
            id,
            user_id,
            mode: mode.name().to_owned(),
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
            actor: None,
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy)]
pub enum End {
    SignedOut,
    RefreshReused,
    Upgraded,
    Revoked,
    SteppedUp,
    Merged,
    CredentialChanged,
    AddressProven,
    Disabled,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::RefreshReused => "refresh_reused",
            Self::Upgraded => "upgraded",
            Self::Revoked => "revoked",
            Self::SteppedUp => "stepped_up",
            Self::Merged => "merged",
            Self::CredentialChanged => "credential_changed",
            Self::AddressProven => "address_proven",
            Self::Disabled => "disabled",
        }
    }
}

pub fn insert_session(conn: &mut Conn, session: &Session) -> Result<()> {
    on!(conn, c => diesel::insert_into(sessions::table).values(session).execute(c))?;
    Ok(())
}

/// A session and its user.
pub fn session(conn: &mut Conn, app_id: AppId, id: SessionId) -> Result<Option<(Session, User)>> {
    let found = on!(conn, c => sessions::table.find((app_id, id)).select(Session::as_select()).first(c).optional())?;
    let Some(session) = found else { return Ok(None) };
    let user = user(conn, app_id, session.user_id)?;
    Ok(user.map(|user| (session, user)))
}

pub fn end_session(conn: &mut Conn, app_id: AppId, id: SessionId, (end, now_ms): (End, i64)) -> Result<()> {
    conn.serialise(&format!("session:{id}"))?;
    let target = sessions::table.filter(sessions::app_id.eq(app_id).and(sessions::id.eq(id)).and(sessions::ended_ms.is_null()));
    on!(conn, c => diesel::update(target).set(end_of(end, now_ms)).execute(c))?;
    Ok(())
}

/// What a session's end writes.
pub fn end_of(
    end: End,
    now_ms: i64,
) -> (diesel::dsl::Eq<sessions::ended_ms, i64>, diesel::dsl::Eq<sessions::end_reason, &'static str>) {
    (sessions::ended_ms.eq(now_ms), sessions::end_reason.eq(end.name()))
}

/// A user's open sessions, at most `rows` of them after an id, in the order of their ids.
pub fn open_sessions(
    conn: &mut Conn,
    (app_id, user): (AppId, UserId),
    since: Since,
    (after, rows): (&str, i64),
) -> Result<Vec<Session>> {
    Ok(on!(conn, c => sessions::table
        .filter(sessions::app_id.eq(app_id).and(sessions::user_id.eq(user)).and(sessions::ended_ms.is_null()))
        .filter(sessions::created_ms.gt(since.began_ms).and(sessions::last_used_ms.gt(since.used_ms)))
        .filter(sessions::actor.is_null().or(sessions::created_ms.gt(since.acted_ms)))
        .filter(sessions::id.gt(after))
        .order(sessions::id)
        .limit(rows)
        .select(Session::as_select())
        .load(c))?)
}

/// Gives an open session a name.
pub fn name_session(conn: &mut Conn, app_id: AppId, id: SessionId, name: Option<&str>) -> Result<()> {
    on!(conn, c => diesel::update(sessions::table.find((app_id, id))).set(sessions::name.eq(name)).execute(c))?;
    Ok(())
}

/// Makes sure that a session is open, and that nobody signs it out until the end of this transaction.
///
/// # Errors
/// 401 when it has ended.
pub fn keep_open(conn: &mut Conn, app_id: AppId, id: SessionId) -> Result<()> {
    conn.serialise(&format!("session:{id}"))?;
    match session(conn, app_id, id)? {
        Some((session, user)) if session.ended_ms.is_none() && !user.disabled => Ok(()),
        _ => Err(Error::unauthorized("The session has ended: sign in again.")),
    }
}

/// Judges a refresh and moves the session on; a reuse ends it.
pub fn refresh(
    conn: &mut Conn,
    app_id: AppId,
    id: SessionId,
    presented: &Presented,
) -> Result<(Verdict, Option<(Session, User)>)> {
    for _ in 0..REFRESH_TRIES {
        let Some((session, user)) = session(conn, app_id, id)? else { return Ok((Verdict::Refused, None)) };
        let state = SessionState {
            generation: session.generation,
            generation_ms: session.generation_ms,
            last_used_ms: session.last_used_ms,
            created_ms: session.created_ms,
            // Who acts for a user got no refresh token.
            ended: user.disabled || session.ended_ms.is_some() || session.actor.is_some(),
        };
        let verdict = judge(&state, presented);
        match verdict {
            Verdict::Refused => return Ok((verdict, Some((session, user)))),
            Verdict::Reused => {
                end_session(conn, app_id, id, (End::RefreshReused, presented.now_ms))?;
                return Ok((verdict, Some((session, user))));
            }
            Verdict::Child(_) if advance(conn, &session, presented)? => return Ok((verdict, Some((session, user)))),
            // Another refresh moved the session between the two statements: judge what it is now.
            Verdict::Child(_) => {}
        }
    }
    Ok((Verdict::Refused, None))
}

/// Notes that a token was presented; false when the session is no longer as it was read.
fn advance(conn: &mut Conn, session: &Session, presented: &Presented) -> Result<bool> {
    let generation_ms = if presented.generation > session.generation { presented.now_ms } else { session.generation_ms };
    let target = sessions::table.filter(
        sessions::app_id
            .eq(session.app_id)
            .and(sessions::id.eq(session.id))
            .and(sessions::ended_ms.is_null())
            .and(sessions::generation.eq(session.generation)),
    );
    let values = (
        sessions::generation.eq(presented.generation),
        sessions::generation_ms.eq(generation_ms),
        sessions::last_used_ms.eq(presented.now_ms),
    );
    Ok(on!(conn, c => diesel::update(target).set(values).execute(c))? == 1)
}

/// Lets those who end or replace sessions of a user wait for one another: before rows of the user are written.
pub fn hold_sessions(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    let open = others(conn, app_id, user, None)?;
    open.iter().try_for_each(|id| conn.serialise(&format!("session:{id}")))
}

/// Every session of a user that has not ended, but one.
pub fn others(conn: &mut Conn, app_id: AppId, user: UserId, keep: Option<SessionId>) -> Result<Vec<SessionId>> {
    let all: Vec<SessionId> = on!(conn, c => sessions::table
        .filter(sessions::app_id.eq(app_id).and(sessions::user_id.eq(user)).and(sessions::ended_ms.is_null()))
        .order(sessions::id)
        .select(sessions::id)
        .load(c))?;
    Ok(all.into_iter().filter(|id| Some(*id) != keep).collect())
}

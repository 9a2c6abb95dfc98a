//! Queries on accounts, sessions and signing keys.

use super::refresh::{Presented, SessionState, Verdict, judge};
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, SessionId, UserId};
use crate::on;
use crate::store::schema::{passwords, sessions, signing_keys, users};
use crate::store::{Conn, Doc};
use crate::webhook::{self, Event};
use diesel::prelude::*;
use serde_json::{Value, json};

/// How often a refresh is judged again because another one came between.
const REFRESH_TRIES: u32 = 5;

/// A sign-in of a user.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
pub(super) struct Session {
    pub(super) app_id: AppId,
    pub(super) id: SessionId,
    pub(super) user_id: UserId,
    pub(super) mode: String,
    pub(super) generation: i64,
    pub(super) generation_ms: i64,
    pub(super) name: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) created_ms: i64,
    pub(super) last_used_ms: i64,
    pub(super) ended_ms: Option<i64>,
    pub(super) end_reason: Option<String>,
}

/// The user behind an account, as the answers of this room show it.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users)]
pub(super) struct User {
    pub(super) id: UserId,
    pub(super) external_id: Option<String>,
    pub(super) anonymous: bool,
    pub(super) disabled: bool,
    pub(super) created_ms: i64,
}

/// An e-mail and the hash of its password.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) app_id: AppId,
    pub(super) email: String,
    pub(super) password_hash: String,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    SignedOut,
    RefreshReused,
    Upgraded,
    Revoked,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::RefreshReused => "refresh_reused",
            Self::Upgraded => "upgraded",
            Self::Revoked => "revoked",
        }
    }
}

pub(super) fn user(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<Option<User>> {
    Ok(on!(conn, c => users::table.find((app_id, id)).select(User::as_select()).first(c).optional())?)
}

pub(super) fn insert_user(conn: &mut Conn, app_id: AppId, (id, anonymous): (UserId, bool), now_ms: i64) -> Result<User> {
    let row = (
        users::app_id.eq(app_id),
        users::id.eq(id),
        users::anonymous.eq(anonymous),
        users::attributes.eq(Doc(FreeJson::default())),
        users::zone.eq(""),
        users::disabled.eq(false),
        users::revision.eq(1_i64),
        users::created_ms.eq(now_ms),
        users::updated_ms.eq(now_ms),
    );
    on!(conn, c => diesel::insert_into(users::table).values(row).execute(c))?;
    webhook::emit(conn, app_id, &Event::of_user("user.created", (id, now_ms), "made", json!({ "anonymous": anonymous })))?;
    Ok(User { id, external_id: None, anonymous, disabled: false, created_ms: now_ms })
}

/// Turns an anonymous user into one with an account, in place.
pub(super) fn upgrade_user(conn: &mut Conn, app_id: AppId, id: UserId, now_ms: i64) -> Result<()> {
    let values = (users::anonymous.eq(false), users::revision.eq(users::revision + 1), users::updated_ms.eq(now_ms));
    on!(conn, c => diesel::update(users::table.find((app_id, id))).set(values).execute(c))?;
    webhook::emit(conn, app_id, &Event::of_change((id, now_ms), "upgraded", vec!["anonymous".to_owned()]))
}

/// The user of an account that is not disabled.
pub(super) fn account(conn: &mut Conn, credential: &Credential) -> Result<Option<User>> {
    let found: Option<UserId> = on!(conn, c => passwords::table
        .filter(passwords::app_id.eq(credential.app_id)
            .and(passwords::email.eq(&credential.email))
            .and(passwords::password_hash.eq(&credential.password_hash)))
        .select(passwords::user_id)
        .first(c)
        .optional())?;
    let Some(id) = found else { return Ok(None) };
    Ok(user(conn, credential.app_id, id)?.filter(|user| !user.disabled))
}

/// Claims an e-mail with a password for a user; false when the same pair has been claimed meanwhile.
pub(super) fn claim(conn: &mut Conn, credential: &Credential, user_id: UserId, now_ms: i64) -> Result<bool> {
    let row = (
        passwords::app_id.eq(credential.app_id),
        passwords::user_id.eq(user_id),
        passwords::email.eq(&credential.email),
        passwords::password_hash.eq(&credential.password_hash),
        passwords::changed_ms.eq(now_ms),
    );
    let rows = on!(conn, c => diesel::insert_into(passwords::table)
        .values(row)
        .on_conflict((passwords::app_id, passwords::email, passwords::password_hash))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

pub(super) fn insert_session(conn: &mut Conn, session: &Session) -> Result<()> {
    on!(conn, c => diesel::insert_into(sessions::table).values(session).execute(c))?;
    Ok(())
}

/// A session, and whether its user is disabled.
pub(super) fn session(conn: &mut Conn, app_id: AppId, id: SessionId) -> Result<Option<(Session, bool)>> {
    let found = on!(conn, c => sessions::table.find((app_id, id)).select(Session::as_select()).first(c).optional())?;
    let Some(session) = found else { return Ok(None) };
    let user = user(conn, app_id, session.user_id)?;
    Ok(user.map(|user| (session, user.disabled)))
}

pub(super) fn end_session(conn: &mut Conn, app_id: AppId, id: SessionId, (end, now_ms): (End, i64)) -> Result<()> {
    conn.serialise(&format!("session:{id}"))?;
    let target = sessions::table.filter(sessions::app_id.eq(app_id).and(sessions::id.eq(id)).and(sessions::ended_ms.is_null()));
    let values = (sessions::ended_ms.eq(now_ms), sessions::end_reason.eq(end.name()));
    on!(conn, c => diesel::update(target).set(values).execute(c))?;
    Ok(())
}

/// A user's sessions that have not ended, began after one time and were used after another: those after an id, in the
/// order of their ids.
pub(super) fn open_sessions(
    conn: &mut Conn,
    (app_id, user): (AppId, UserId),
    (began_after_ms, used_after_ms): (i64, i64),
    (after, rows): (&str, i64),
) -> Result<Vec<Session>> {
    Ok(on!(conn, c => sessions::table
        .filter(sessions::app_id.eq(app_id).and(sessions::user_id.eq(user)).and(sessions::ended_ms.is_null()))
        .filter(sessions::created_ms.gt(began_after_ms).and(sessions::last_used_ms.gt(used_after_ms)))
        .filter(sessions::id.gt(after))
        .order(sessions::id)
        .limit(rows)
        .select(Session::as_select())
        .load(c))?)
}

/// Gives an open session a name.
pub(super) fn name_session(conn: &mut Conn, app_id: AppId, id: SessionId, name: Option<&str>) -> Result<()> {
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
        Some((session, disabled)) if session.ended_ms.is_none() && !disabled => Ok(()),
        _ => Err(Error::unauthorized("The session has ended: sign in again.")),
    }
}

/// Judges a refresh and moves the session on; a reuse ends it.
pub(super) fn refresh(
    conn: &mut Conn,
    app_id: AppId,
    id: SessionId,
    presented: &Presented,
) -> Result<(Verdict, Option<Session>)> {
    for _ in 0..REFRESH_TRIES {
        let Some((session, disabled)) = session(conn, app_id, id)? else { return Ok((Verdict::Refused, None)) };
        let state = SessionState {
            generation: session.generation,
            generation_ms: session.generation_ms,
            last_used_ms: session.last_used_ms,
            created_ms: session.created_ms,
            ended: disabled || session.ended_ms.is_some(),
        };
        let verdict = judge(&state, presented);
        match verdict {
            Verdict::Refused => return Ok((verdict, Some(session))),
            Verdict::Reused => {
                end_session(conn, app_id, id, (End::RefreshReused, presented.now_ms))?;
                return Ok((verdict, Some(session)));
            }
            Verdict::Child(_) if advance(conn, &session, presented)? => return Ok((verdict, Some(session))),
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

/// The key that signs: the oldest that has not been retired, so that nodes which start at once agree.
pub(super) fn signing_key(conn: &mut Conn) -> Result<Option<(String, Vec<u8>)>> {
    Ok(on!(conn, c => signing_keys::table
        .filter(signing_keys::retired_ms.is_null())
        .order((signing_keys::created_ms, signing_keys::kid))
        .select((signing_keys::kid, signing_keys::sealed))
        .first(c)
        .optional())?)
}

pub(super) fn insert_signing_key(conn: &mut Conn, (kid, sealed, jwk): (&str, &[u8], &Value), now_ms: i64) -> Result<()> {
    let row = (
        signing_keys::kid.eq(kid),
        signing_keys::sealed.eq(sealed),
        signing_keys::public_jwk.eq(Doc(jwk.clone())),
        signing_keys::created_ms.eq(now_ms),
    );
    on!(conn, c => diesel::insert_into(signing_keys::table).values(row).execute(c))?;
    Ok(())
}

/// The public halves of all signing keys whose tokens are believed.
pub(super) fn public_keys(conn: &mut Conn) -> Result<Vec<(String, Doc<Value>)>> {
    Ok(on!(conn, c => signing_keys::table
        .filter(signing_keys::retired_ms.is_null())
        .order((signing_keys::created_ms, signing_keys::kid))
        .select((signing_keys::kid, signing_keys::public_jwk))
        .load(c))?)
}

//! Operators in the database.

use super::role::Role;
use crate::error::{Error, Result};
use crate::id::{AppId, OperatorId};
use crate::on;
use crate::store::Conn;
use crate::store::schema::{operator_attempts, operator_recovery_codes, operator_roles, operator_sessions, operators};
use diesel::prelude::*;

/// An operator as stored.
#[derive(Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = operators, treat_none_as_default_value = false, treat_none_as_null = true)]
pub(in crate::app) struct OperatorRow {
    pub(in crate::app) id: OperatorId,
    pub(in crate::app) email: String,
    pub(in crate::app) name: String,
    pub(super) password_hash: Option<String>,
    pub(super) invite_hash: Option<String>,
    pub(super) invite_expires_ms: Option<i64>,
    pub(super) enrol_hash: Option<String>,
    pub(super) enrol_sealed: Option<Vec<u8>>,
    pub(super) enrol_expires_ms: Option<i64>,
    pub(super) totp_sealed: Option<Vec<u8>>,
    pub(super) totp_step: i64,
    pub(in crate::app) created_ms: i64,
    pub(super) disabled_ms: Option<i64>,
}

impl OperatorRow {
    /// Whether they have a password and a second factor, and are not disabled.
    pub(in crate::app) fn is_active(&self) -> bool {
        self.disabled_ms.is_none() && self.password_hash.is_some() && self.totp_sealed.is_some()
    }
}

/// What an operator is in an app.
#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = operator_roles)]
struct RoleRow {
    app_id: AppId,
    operator_id: OperatorId,
    role: String,
    disabled: bool,
    created_ms: i64,
}

/// A role in an app, and whether it is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) struct Post {
    pub(in crate::app) app_id: AppId,
    pub(in crate::app) role: Role,
    pub(in crate::app) disabled: bool,
}

impl RoleRow {
    fn read(self) -> Result<Post> {
        Ok(Post { app_id: self.app_id, role: Role::parse(&self.role)?, disabled: self.disabled })
    }
}

/// A session; its token is nowhere.
#[derive(Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = operator_sessions)]
pub(super) struct SessionRow {
    pub(super) token_hash: String,
    pub(super) operator_id: OperatorId,
    pub(super) created_ms: i64,
    pub(super) last_used_ms: i64,
    pub(super) expires_ms: i64,
}

/// Failed attempts of an account or an address.
#[derive(Clone, Default, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = operator_attempts)]
pub(super) struct Attempts {
    pub(super) who: String,
    pub(super) failures: i64,
    pub(super) last_ms: i64,
    pub(super) until_ms: i64,
}

/// By what an operator is looked up.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Email(&'a str),
    Invite(&'a str),
    Enrolment(&'a str),
}

pub(super) fn find(conn: &mut Conn, by: By<'_>) -> Result<Option<OperatorRow>> {
    Ok(on!(conn, c => {
        let all = operators::table.select(OperatorRow::as_select());
        match by {
            By::Email(email) => all.filter(operators::email.eq(email)).first(c).optional(),
            By::Invite(hash) => all.filter(operators::invite_hash.eq(hash)).first(c).optional(),
            By::Enrolment(hash) => all.filter(operators::enrol_hash.eq(hash)).first(c).optional(),
        }
    })?)
}

pub(in crate::app) fn operator(conn: &mut Conn, id: OperatorId) -> Result<OperatorRow> {
    let row = on!(conn, c => operators::table.find(id).select(OperatorRow::as_select()).first(c).optional())?;
    row.ok_or_else(|| Error::not_found("operator"))
}

pub(super) fn insert(conn: &mut Conn, row: &OperatorRow) -> Result<()> {
    on!(conn, c => diesel::insert_into(operators::table).values(row).execute(c))?;
    Ok(())
}

/// Writes the whole row; call it for one that is held by [`hold`].
pub(super) fn update(conn: &mut Conn, row: &OperatorRow) -> Result<()> {
    on!(conn, c => diesel::update(operators::table.find(row.id)).set(row).execute(c))?;
    Ok(())
}

/// Keeps others from changing this operator until the transaction ends.
pub(super) fn hold(conn: &mut Conn, id: OperatorId) -> Result<OperatorRow> {
    conn.serialise(&format!("operator:{id}"))?;
    operator(conn, id)
}

/// Takes a step of the second factor, once: false when this step or a later one was taken already.
pub(super) fn take_step(conn: &mut Conn, id: OperatorId, step: i64) -> Result<bool> {
    let target = operators::table.filter(operators::id.eq(id).and(operators::totp_step.lt(step)));
    Ok(on!(conn, c => diesel::update(target).set(operators::totp_step.eq(step)).execute(c))? == 1)
}

/// Takes a recovery code, once.
pub(super) fn take_recovery_code(conn: &mut Conn, id: OperatorId, (hash, now_ms): (&str, i64)) -> Result<bool> {
    let target = operator_recovery_codes::table.find((id, hash)).filter(operator_recovery_codes::used_ms.is_null());
    Ok(on!(conn, c => diesel::update(target).set(operator_recovery_codes::used_ms.eq(now_ms)).execute(c))? == 1)
}

/// Puts these recovery codes in place of all earlier ones.
pub(super) fn set_recovery_codes(conn: &mut Conn, id: OperatorId, hashes: &[String]) -> Result<()> {
    use operator_recovery_codes as codes;
    on!(conn, c => diesel::delete(codes::table.filter(codes::operator_id.eq(id))).execute(c))?;
    for hash in hashes {
        let row = (codes::operator_id.eq(id), codes::code_hash.eq(hash));
        on!(conn, c => diesel::insert_into(codes::table).values(row).execute(c))?;
    }
    Ok(())
}

pub(super) fn recovery_codes_left(conn: &mut Conn, id: OperatorId) -> Result<i64> {
    use operator_recovery_codes as codes;
    Ok(on!(conn, c => codes::table
        .filter(codes::operator_id.eq(id).and(codes::used_ms.is_null())).count().get_result(c))?)
}

pub(super) fn session(conn: &mut Conn, token_hash: &str) -> Result<Option<SessionRow>> {
    Ok(on!(conn, c => operator_sessions::table.find(token_hash).select(SessionRow::as_select()).first(c).optional())?)
}

/// Opens a session, and clears away the operator's that have ended by themselves.
pub(super) fn open_session(conn: &mut Conn, row: &SessionRow) -> Result<()> {
    use operator_sessions as sessions;
    let over = sessions::operator_id.eq(row.operator_id).and(sessions::expires_ms.le(row.created_ms));
    on!(conn, c => diesel::delete(sessions::table.filter(over)).execute(c))?;
    on!(conn, c => diesel::insert_into(sessions::table).values(row).execute(c))?;
    Ok(())
}

pub(super) fn touch_session(conn: &mut Conn, token_hash: &str, now_ms: i64) -> Result<()> {
    let target = operator_sessions::table.find(token_hash);
    on!(conn, c => diesel::update(target).set(operator_sessions::last_used_ms.eq(now_ms)).execute(c))?;
    Ok(())
}

pub(super) fn end_session(conn: &mut Conn, token_hash: &str) -> Result<()> {
    on!(conn, c => diesel::delete(operator_sessions::table.find(token_hash)).execute(c))?;
    Ok(())
}

pub(in crate::app) fn end_sessions(conn: &mut Conn, id: OperatorId) -> Result<()> {
    on!(conn, c => diesel::delete(operator_sessions::table.filter(operator_sessions::operator_id.eq(id))).execute(c))?;
    Ok(())
}

/// What an operator is, in every app, suspended roles included.
pub(super) fn posts(conn: &mut Conn, id: OperatorId) -> Result<Vec<Post>> {
    on!(conn, c => operator_roles::table
        .filter(operator_roles::operator_id.eq(id)).order(operator_roles::app_id)
        .select(RoleRow::as_select()).load(c))?
    .into_iter()
    .map(RoleRow::read)
    .collect()
}

pub(in crate::app) fn post(conn: &mut Conn, app: AppId, id: OperatorId) -> Result<Option<Post>> {
    let found: Option<RoleRow> =
        on!(conn, c => operator_roles::table.find((app, id)).select(RoleRow::as_select()).first(c).optional())?;
    found.map(RoleRow::read).transpose()
}

/// Gives an operator a role in an app, in place of the one they had there.
pub(in crate::app) fn set_post(conn: &mut Conn, id: OperatorId, (post, now_ms): (Post, i64)) -> Result<()> {
    let Post { app_id, role, disabled } = post;
    let row = RoleRow { app_id, operator_id: id, role: role.name().to_owned(), disabled, created_ms: now_ms };
    let kept = (operator_roles::role.eq(role.name()), operator_roles::disabled.eq(disabled));
    on!(conn, c => diesel::insert_into(operator_roles::table).values(row)
        .on_conflict((operator_roles::app_id, operator_roles::operator_id)).do_update().set(kept).execute(c))?;
    Ok(())
}

/// The operators of an app with what they are in it, by id, after a cursor.
pub(in crate::app) fn page(conn: &mut Conn, app: AppId, (after, rows): (&str, i64)) -> Result<Vec<(OperatorRow, Post)>> {
    let found: Vec<(OperatorRow, RoleRow)> = on!(conn, c => operators::table
        .inner_join(operator_roles::table.on(operator_roles::operator_id.eq(operators::id)))
        .filter(operator_roles::app_id.eq(app).and(operators::id.gt(after)))
        .order(operators::id).limit(rows)
        .select((OperatorRow::as_select(), RoleRow::as_select())).load(c))?;
    found.into_iter().map(|(row, role)| Ok((row, role.read()?))).collect()
}

/// All operators of the installation, by e-mail.
pub(super) fn all(conn: &mut Conn) -> Result<Vec<OperatorRow>> {
    Ok(on!(conn, c => operators::table.order(operators::email).select(OperatorRow::as_select()).load(c))?)
}

/// How many can act as owners of an app. Nobody else makes or ends one until the transaction ends.
pub(in crate::app) fn owners_held(conn: &mut Conn, app: AppId) -> Result<i64> {
    conn.serialise(&format!("owners:{app}"))?;
    Ok(on!(conn, c => operators::table
        .inner_join(operator_roles::table.on(operator_roles::operator_id.eq(operators::id)))
        .filter(operator_roles::app_id.eq(app).and(operator_roles::role.eq(Role::Owner.name())))
        .filter(operator_roles::disabled.eq(false).and(operators::disabled_ms.is_null()))
        .count().get_result(c))?)
}

/// What is known of an account or an address, which nobody else changes until the transaction ends.
pub(super) fn attempts_held(conn: &mut Conn, who: &str) -> Result<Attempts> {
    conn.serialise(who)?;
    let found = on!(conn, c => operator_attempts::table.find(who).select(Attempts::as_select()).first(c).optional())?;
    Ok(found.unwrap_or_else(|| Attempts { who: who.to_owned(), ..Attempts::default() }))
}

pub(super) fn set_attempts(conn: &mut Conn, row: &Attempts) -> Result<()> {
    on!(conn, c => diesel::insert_into(operator_attempts::table).values(row.clone())
        .on_conflict(operator_attempts::who).do_update().set(row.clone()).execute(c))?;
    Ok(())
}

pub(super) fn forget_attempts(conn: &mut Conn, who: &str) -> Result<()> {
    on!(conn, c => diesel::delete(operator_attempts::table.find(who)).execute(c))?;
    Ok(())
}

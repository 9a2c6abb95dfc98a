//! Queries on issuers, identities and what is still to be said to Apple.

use super::provider::{Provider, Settings};
use crate::error::Result;
use crate::id::{AppId, IdentityId, UserId};
use crate::on;
use crate::store::schema::{identities, identity_notices, identity_providers, identity_revocations};
use crate::store::{Conn, Doc, part};
use diesel::prelude::*;

/// Who a user is to an issuer.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = identities, treat_none_as_default_value = false)]
pub struct Identity {
    pub app_id: AppId,
    pub id: IdentityId,
    pub user_id: UserId,
    pub provider: String,
    pub issuer: String,
    pub subject: String,
    /// For which of the app's clients Apple's refresh token is good.
    pub client_id: String,
    /// What the issuer said at the last sign-in.
    pub email: Option<String>,
    pub email_is_private: bool,
    /// Whether the issuer forwards mail to it.
    pub email_reachable: bool,
    /// When that was said.
    pub email_ms: i64,
    pub refresh_sealed: Option<Vec<u8>>,
    pub created_ms: i64,
    pub last_used_ms: i64,
    pub revoked_ms: Option<i64>,
}

/// A refresh token that Apple is to take back.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = identity_revocations)]
pub struct Revocation {
    pub app_id: AppId,
    pub identity_id: IdentityId,
    pub client_id: String,
    pub refresh_sealed: Vec<u8>,
    pub attempts: i64,
    pub due_ms: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = identity_providers, treat_none_as_default_value = false)]
struct ProviderRow {
    app_id: AppId,
    name: String,
    settings: Doc<Settings>,
    sealed: Option<Vec<u8>>,
    updated_ms: i64,
}

impl From<ProviderRow> for Provider {
    fn from(row: ProviderRow) -> Self {
        let ProviderRow { app_id, name, settings, sealed, updated_ms } = row;
        Self { app_id, name, settings: settings.0, sealed, updated_ms }
    }
}

pub fn put_provider(conn: &mut Conn, provider: &Provider) -> Result<()> {
    let Provider { app_id, name, settings, sealed, updated_ms } = provider.clone();
    let row = ProviderRow { app_id, name, settings: Doc(settings), sealed, updated_ms };
    let values = (
        identity_providers::settings.eq(row.settings.clone()),
        identity_providers::sealed.eq(row.sealed.clone()),
        identity_providers::updated_ms.eq(row.updated_ms),
    );
    on!(conn, c => diesel::insert_into(identity_providers::table)
        .values(row)
        .on_conflict((identity_providers::app_id, identity_providers::name))
        .do_update()
        .set(values)
        .execute(c))?;
    Ok(())
}

pub fn provider(conn: &mut Conn, app_id: AppId, name: &str) -> Result<Option<Provider>> {
    let found: Option<ProviderRow> = on!(conn, c => identity_providers::table
        .find((app_id, name))
        .select(ProviderRow::as_select())
        .first(c)
        .optional())?;
    Ok(found.map(Provider::from))
}

/// The issuers that an app believes, by name.
pub fn providers(conn: &mut Conn, app_id: AppId) -> Result<Vec<Provider>> {
    let found: Vec<ProviderRow> = on!(conn, c => identity_providers::table
        .filter(identity_providers::app_id.eq(app_id))
        .order(identity_providers::name)
        .select(ProviderRow::as_select())
        .load(c))?;
    Ok(found.into_iter().map(Provider::from).collect())
}

/// One issuer as all apps have set it up.
pub fn providers_named(conn: &mut Conn, name: &str) -> Result<Vec<Provider>> {
    let found: Vec<ProviderRow> = on!(conn, c => identity_providers::table
        .filter(identity_providers::name.eq(name))
        .order(identity_providers::app_id)
        .select(ProviderRow::as_select())
        .load(c))?;
    Ok(found.into_iter().map(Provider::from).collect())
}

/// Every issuer of every app.
pub fn all_providers(conn: &mut Conn) -> Result<Vec<Provider>> {
    let found: Vec<ProviderRow> = on!(conn, c => identity_providers::table
        .order((identity_providers::app_id, identity_providers::name))
        .select(ProviderRow::as_select())
        .load(c))?;
    Ok(found.into_iter().map(Provider::from).collect())
}

pub fn delete_provider(conn: &mut Conn, app_id: AppId, name: &str) -> Result<bool> {
    Ok(on!(conn, c => diesel::delete(identity_providers::table.find((app_id, name))).execute(c))? > 0)
}

/// The identity of a subject at an issuer: (provider, issuer, subject).
pub fn by_subject(conn: &mut Conn, app_id: AppId, (provider, issuer, subject): (&str, &str, &str)) -> Result<Option<Identity>> {
    Ok(on!(conn, c => identities::table
        .filter(identities::app_id.eq(app_id).and(identities::provider.eq(provider)))
        .filter(identities::issuer.eq(issuer).and(identities::subject.eq(subject)))
        .select(Identity::as_select())
        .first(c)
        .optional())?)
}

/// Whether an issuer has said that it forwards no mail to an address.
pub fn is_unreachable(conn: &mut Conn, app_id: AppId, email: &str) -> Result<bool> {
    let found: Option<IdentityId> = on!(conn, c => identities::table
        .filter(identities::app_id.eq(app_id).and(identities::email.eq(email)).and(part("email_reachable = false")))
        .select(identities::id)
        .first(c)
        .optional())?;
    Ok(found.is_some())
}

/// A user's identities that open something, the oldest first.
pub fn of_user(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Vec<Identity>> {
    Ok(on!(conn, c => identities::table
        .filter(identities::app_id.eq(app_id).and(identities::user_id.eq(user)).and(identities::revoked_ms.is_null()))
        .order(identities::id)
        .select(Identity::as_select())
        .load(c))?)
}

pub fn insert(conn: &mut Conn, identity: &Identity) -> Result<()> {
    on!(conn, c => diesel::insert_into(identities::table).values(identity).execute(c))?;
    Ok(())
}

/// Writes an identity down as it is now.
pub fn update(conn: &mut Conn, identity: &Identity) -> Result<()> {
    let values = (
        identities::client_id.eq(&identity.client_id),
        identities::email.eq(&identity.email),
        identities::email_is_private.eq(identity.email_is_private),
        identities::email_reachable.eq(identity.email_reachable),
        identities::email_ms.eq(identity.email_ms),
        identities::refresh_sealed.eq(&identity.refresh_sealed),
        identities::last_used_ms.eq(identity.last_used_ms),
        identities::revoked_ms.eq(identity.revoked_ms),
    );
    on!(conn, c => diesel::update(identities::table.find((identity.app_id, identity.id))).set(values).execute(c))?;
    Ok(())
}

pub fn delete(conn: &mut Conn, app_id: AppId, id: IdentityId) -> Result<()> {
    on!(conn, c => diesel::delete(identities::table.find((app_id, id))).execute(c))?;
    Ok(())
}

/// Every identity of a user, also revoked ones.
pub fn delete_all(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    let all = identities::table.filter(identities::app_id.eq(app_id).and(identities::user_id.eq(user)));
    on!(conn, c => diesel::delete(all).execute(c))?;
    Ok(())
}

pub fn queue_revocation(conn: &mut Conn, revocation: &Revocation) -> Result<()> {
    on!(conn, c => diesel::insert_into(identity_revocations::table)
        .values(revocation)
        .on_conflict((identity_revocations::app_id, identity_revocations::identity_id))
        .do_nothing()
        .execute(c))?;
    Ok(())
}

/// Revocations that are due, the longest waiting first.
pub fn due_revocations(conn: &mut Conn, now_ms: i64, rows: i64) -> Result<Vec<Revocation>> {
    Ok(on!(conn, c => identity_revocations::table
        .filter(identity_revocations::due_ms.le(now_ms))
        .order((identity_revocations::due_ms, identity_revocations::identity_id))
        .limit(rows)
        .select(Revocation::as_select())
        .load(c))?)
}

/// When the next revocation falls due.
pub fn next_revocation_ms(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(on!(conn, c => identity_revocations::table.select(diesel::dsl::min(identity_revocations::due_ms)).first(c))?)
}

/// Puts a revocation off; false when somebody else did so since it was read.
pub fn put_off(conn: &mut Conn, revocation: &Revocation, due_ms: i64) -> Result<bool> {
    let target = identity_revocations::table
        .find((revocation.app_id, revocation.identity_id))
        .filter(identity_revocations::attempts.eq(revocation.attempts));
    let values = (identity_revocations::attempts.eq(revocation.attempts + 1), identity_revocations::due_ms.eq(due_ms));
    Ok(on!(conn, c => diesel::update(target).set(values).execute(c))? == 1)
}

pub fn end_revocation(conn: &mut Conn, revocation: &Revocation) -> Result<()> {
    let target = identity_revocations::table.find((revocation.app_id, revocation.identity_id));
    on!(conn, c => diesel::delete(target).execute(c))?;
    Ok(())
}

/// Notes a notice of Apple's; false when it was heeded before.
pub fn note(conn: &mut Conn, (app_id, jti): (AppId, &str), now_ms: i64) -> Result<bool> {
    let row = (identity_notices::app_id.eq(app_id), identity_notices::jti.eq(jti), identity_notices::received_ms.eq(now_ms));
    let rows = on!(conn, c => diesel::insert_into(identity_notices::table)
        .values(row)
        .on_conflict((identity_notices::app_id, identity_notices::jti))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// Forgets notices that are too old to be taken once more.
pub fn forget_notices(conn: &mut Conn, before_ms: i64) -> Result<()> {
    let old = identity_notices::table.filter(identity_notices::received_ms.lt(before_ms));
    on!(conn, c => diesel::delete(old).execute(c))?;
    Ok(())
}

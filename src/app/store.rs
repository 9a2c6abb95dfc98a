//! Queries on apps and their keys.

use super::key::{Key, KeyKind, Mint, Mode, NewKey, hash, make_text};
use super::passkeys::LOCAL;
use super::scope::Scopes;
use super::settings::Settings;
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, Ids, KeyId, PartnerId};
use crate::on;
use crate::store::schema::{api_keys, apps};
use crate::store::{Conn, Doc};
use diesel::prelude::*;

/// An app as stored.
#[derive(Queryable, Selectable)]
#[diesel(table_name = apps)]
pub(super) struct AppRow {
    pub(super) id: AppId,
    pub(super) name: String,
    pub(super) settings: Doc<Settings>,
    pub(super) revision: i64,
    pub(super) created_ms: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys, treat_none_as_default_value = false)]
struct KeyRow {
    app_id: AppId,
    id: KeyId,
    kind: String,
    mode: String,
    name: String,
    partner_id: Option<PartnerId>,
    scopes: Doc<Scopes>,
    prefix: String,
    secret_hash: String,
    created_ms: i64,
    expires_ms: Option<i64>,
    last_used_ms: Option<i64>,
    revoked_ms: Option<i64>,
}

impl KeyRow {
    fn read(self) -> Result<Key> {
        Ok(Key {
            app_id: self.app_id,
            id: self.id,
            kind: KeyKind::parse(&self.kind)?,
            mode: Mode::parse(&self.mode)?,
            name: self.name,
            partner_id: self.partner_id,
            scopes: self.scopes.0,
            prefix: self.prefix,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            last_used_ms: self.last_used_ms,
            revoked_ms: self.revoked_ms,
        })
    }
}

pub(super) fn insert_app(conn: &mut Conn, id: AppId, name: &str, settings: &Settings, now_ms: i64) -> Result<()> {
    let row = (
        apps::id.eq(id),
        apps::name.eq(name),
        apps::settings.eq(Doc(settings.clone())),
        apps::revision.eq(1_i64),
        apps::created_ms.eq(now_ms),
    );
    on!(conn, c => diesel::insert_into(apps::table).values(row).execute(c))?;
    Ok(())
}

pub(super) fn app(conn: &mut Conn, id: AppId) -> Result<AppRow> {
    let row = on!(conn, c => apps::table.find(id).select(AppRow::as_select()).first(c).optional())?;
    row.ok_or_else(|| Error::not_found("app"))
}

/// An app's settings.
///
/// # Errors
/// 404 when there is no such app; what the database says.
pub fn settings(conn: &mut Conn, app_id: AppId) -> Result<Settings> {
    Ok(app(conn, app_id)?.settings.0)
}

/// What people call an app.
///
/// # Errors
/// 404 when there is no such app; what the database says.
pub fn name(conn: &mut Conn, app_id: AppId) -> Result<String> {
    Ok(app(conn, app_id)?.name)
}

/// Every app's id and settings, for what is kept in memory of all of them.
pub(super) fn all_settings(conn: &mut Conn) -> Result<Vec<(AppId, Doc<Settings>)>> {
    Ok(on!(conn, c => apps::table.select((apps::id, apps::settings)).load(c))?)
}

/// Every app with its settings, in the order of ids: for what is done for all of them.
///
/// # Errors
/// What the database says.
pub fn every(conn: &mut Conn) -> Result<Vec<(AppId, Settings)>> {
    let mut all: Vec<(AppId, Settings)> = all_settings(conn)?.into_iter().map(|(id, Doc(settings))| (id, settings)).collect();
    all.sort_by_key(|(id, _)| *id);
    Ok(all)
}

/// Makes sure that no other app's passkeys are bound to the same domain: whoever is listed for a domain may ask there for
/// everybody's.
pub(super) fn own_rp_id(conn: &mut Conn, row: &AppRow) -> Result<()> {
    let Some(passkeys) = row.settings.0.passkeys.as_ref().filter(|passkeys| passkeys.rp_id != LOCAL) else { return Ok(()) };
    conn.serialise("passkeys' domains")?;
    let same = |other: &Settings| other.passkeys.as_ref().is_some_and(|other| other.rp_id == passkeys.rp_id);
    if all_settings(conn)?.iter().any(|(id, settings)| *id != row.id && same(&settings.0)) {
        return Err(Error::invalid("settings.passkeys.rp_id", "taken", "another app's passkeys are bound to this domain"));
    }
    Ok(())
}

/// Writes an app's name and settings over the revision that was read.
pub(super) fn update_app(conn: &mut Conn, row: &AppRow) -> Result<()> {
    let target = apps::table.filter(apps::id.eq(row.id).and(apps::revision.eq(row.revision)));
    let values = (apps::name.eq(&row.name), apps::settings.eq(Doc(row.settings.0.clone())), apps::revision.eq(row.revision + 1));
    match on!(conn, c => diesel::update(target).set(values).execute(c))? {
        1 => Ok(()),
        _ => {
            Err(Problem::new(409, "changed_meanwhile", "Somebody else changed the app at the same time; read it and try again.")
                .into())
        }
    }
}

/// Makes a key. Its text is in the answer and nowhere else. Tell the other nodes after the commit: nothing is needed,
/// they have never seen it.
///
/// # Errors
/// What the database says.
pub fn mint(conn: &mut Conn, ids: &Ids, now_ms: i64, wanted: Mint) -> Result<NewKey> {
    let (secret, prefix) = make_text(ids, wanted.kind, wanted.mode);
    let row = KeyRow {
        app_id: wanted.app_id,
        id: ids.next(),
        kind: wanted.kind.name().to_owned(),
        mode: wanted.mode.name().to_owned(),
        name: wanted.name,
        partner_id: wanted.partner_id,
        scopes: Doc(wanted.scopes),
        prefix,
        secret_hash: hash(secret.expose()),
        created_ms: now_ms,
        expires_ms: wanted.expires_ms,
        last_used_ms: None,
        revoked_ms: None,
    };
    on!(conn, c => diesel::insert_into(api_keys::table).values(&row).execute(c))?;
    Ok(NewKey { key: row.read()?, secret })
}

/// The key with this text's hash, whatever its state.
pub(super) fn by_hash(conn: &mut Conn, secret_hash: &str) -> Result<Option<Key>> {
    on!(conn, c => api_keys::table.filter(api_keys::secret_hash.eq(secret_hash)).select(KeyRow::as_select()).first(c).optional())?
        .map(KeyRow::read)
        .transpose()
}

/// One key of an app.
pub(super) fn key(conn: &mut Conn, app_id: AppId, id: KeyId) -> Result<Key> {
    let row = on!(conn, c => api_keys::table.find((app_id, id)).select(KeyRow::as_select()).first(c).optional())?;
    row.ok_or_else(|| Error::not_found("key"))?.read()
}

/// An app's own keys (not its partners'), by id, after a cursor.
pub(super) fn own_keys(conn: &mut Conn, app_id: AppId, after: &str, rows: i64) -> Result<Vec<Key>> {
    on!(conn, c => api_keys::table
        .filter(api_keys::app_id.eq(app_id).and(api_keys::kind.ne(KeyKind::Partner.name())).and(api_keys::id.gt(after)))
        .order(api_keys::id)
        .limit(rows)
        .select(KeyRow::as_select()).load(c))?
    .into_iter()
    .map(KeyRow::read)
    .collect()
}

/// One key of an app, which nobody else revokes or rotates until the transaction ends.
pub(super) fn key_held(conn: &mut Conn, app_id: AppId, id: KeyId) -> Result<Key> {
    conn.serialise(&format!("key:{app_id}:{id}"))?;
    key(conn, app_id, id)
}

/// The keys of one partner, oldest first, revoked ones included.
///
/// # Errors
/// What the database says.
pub fn partner_keys(conn: &mut Conn, app_id: AppId, partner_id: PartnerId) -> Result<Vec<Key>> {
    on!(conn, c => api_keys::table
        .filter(api_keys::app_id.eq(app_id).and(api_keys::partner_id.eq(partner_id)))
        .order(api_keys::id)
        .select(KeyRow::as_select()).load(c))?
    .into_iter()
    .map(KeyRow::read)
    .collect()
}

/// Ends a key now; a key that has ended already stays as it is. Publish [`super::KEYS_TOPIC`] after the commit.
///
/// # Errors
/// 404 when the app has no such key; what the database says.
pub fn revoke(conn: &mut Conn, app_id: AppId, id: KeyId, now_ms: i64) -> Result<()> {
    if key_held(conn, app_id, id)?.revoked_ms.is_none() {
        let target = api_keys::table.find((app_id, id));
        on!(conn, c => diesel::update(target).set(api_keys::revoked_ms.eq(now_ms)).execute(c))?;
    }
    Ok(())
}

/// Makes a successor of a key that was read by [`key_held`], with the same rights, and lets the old key live for `overlap_ms` more, or less if it ends earlier.
/// Publish [`super::KEYS_TOPIC`] after the commit.
///
/// # Errors
/// 409 when the key has ended; what the database says.
pub(super) fn rotate(conn: &mut Conn, ids: &Ids, now_ms: i64, (old, overlap_ms): (&Key, i64)) -> Result<NewKey> {
    if !old.is_live(now_ms) {
        return Err(Error::conflict("key_ended", "The key was revoked or has expired; make a new one."));
    }
    let new = mint(conn, ids, now_ms, old.mint())?;
    let ends_ms = now_ms + overlap_ms;
    let ends_ms = old.expires_ms.map_or(ends_ms, |expires_ms| expires_ms.min(ends_ms));
    let target = api_keys::table.find((old.app_id, old.id));
    on!(conn, c => diesel::update(target).set(api_keys::expires_ms.eq(ends_ms)).execute(c))?;
    Ok(new)
}

/// Notes when keys were last used.
pub(super) fn touch(conn: &mut Conn, used: &[(AppId, KeyId, i64)]) -> Result<()> {
    for (app_id, id, used_ms) in used {
        let target = api_keys::table.find((app_id, id));
        on!(conn, c => diesel::update(target).set(api_keys::last_used_ms.eq(used_ms)).execute(c))?;
    }
    Ok(())
}

/// Whether this database has any app.
///
/// # Errors
/// What the database says.
pub fn any(conn: &mut Conn) -> Result<bool> {
    let first: Option<AppId> = on!(conn, c => apps::table.select(apps::id).first(c).optional())?;
    Ok(first.is_some())
}

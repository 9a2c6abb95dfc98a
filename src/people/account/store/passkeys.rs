//! Passkeys: the public keys of users' authenticators.

use crate::error::Result;
use crate::id::{AppId, PasskeyId, UserId};
use crate::on;
use crate::store::schema::passkeys;
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use webauthn_rs::prelude::Passkey as Credential;

/// A passkey of a user.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = passkeys, treat_none_as_default_value = false)]
pub struct Passkey {
    pub app_id: AppId,
    pub id: PasskeyId,
    pub user_id: UserId,
    /// What authenticators know the user by.
    pub handle: String,
    /// The authenticator's own name for it, in base64url.
    pub credential_id: String,
    /// How often it has signed, where its authenticator counts; 0 where it does not.
    pub counter: i64,
    /// Whether its authenticator keeps a copy elsewhere.
    pub backed_up: bool,
    pub transports: Doc<Vec<String>>,
    pub name: String,
    /// Whether it is asked for after another first factor.
    pub second_factor: bool,
    pub created_ms: i64,
    pub last_used_ms: Option<i64>,
}

/// Stores a passkey with its public key (COSE) and flags; false when the app knows its credential already.
pub fn insert_passkey(conn: &mut Conn, passkey: &Passkey, credential: &Doc<Credential>) -> Result<bool> {
    let rows = on!(conn, c => diesel::insert_into(passkeys::table)
        .values((passkey, passkeys::credential.eq(credential)))
        .on_conflict((passkeys::app_id, passkeys::credential_id))
        .do_nothing()
        .execute(c))?;
    Ok(rows == 1)
}

/// A user's passkeys, the oldest first.
pub fn passkeys(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Vec<Passkey>> {
    Ok(on!(conn, c => passkeys::table
        .filter(passkeys::app_id.eq(app_id).and(passkeys::user_id.eq(user)))
        .order(passkeys::id)
        .select(Passkey::as_select())
        .load(c))?)
}

/// Whether each of a user's passkeys is a second factor.
pub fn second_factors(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<Vec<bool>> {
    Ok(on!(conn, c => passkeys::table
        .filter(passkeys::app_id.eq(app_id).and(passkeys::user_id.eq(user)))
        .select(passkeys::second_factor)
        .load(c))?)
}

/// The passkey with this credential id, and its public key.
pub fn passkey_of(conn: &mut Conn, app_id: AppId, credential_id: &str) -> Result<Option<(Passkey, Doc<Credential>)>> {
    Ok(on!(conn, c => passkeys::table
        .filter(passkeys::app_id.eq(app_id).and(passkeys::credential_id.eq(credential_id)))
        .select((Passkey::as_select(), passkeys::credential))
        .first(c)
        .optional())?)
}

/// Notes what a signature told of a passkey that counted up to `counter` before; false when another signature came
/// between.
pub fn note_use(conn: &mut Conn, passkey: &Passkey, (credential, counter): (&Doc<Credential>, i64)) -> Result<bool> {
    let target = passkeys::table
        .filter(passkeys::app_id.eq(passkey.app_id).and(passkeys::id.eq(passkey.id)).and(passkeys::counter.eq(counter)));
    let values = (
        passkeys::credential.eq(credential),
        passkeys::counter.eq(passkey.counter),
        passkeys::backed_up.eq(passkey.backed_up),
        passkeys::last_used_ms.eq(passkey.last_used_ms),
    );
    Ok(on!(conn, c => diesel::update(target).set(values).execute(c))? == 1)
}

/// Writes a passkey's name and whether it is a second factor.
pub fn name_passkey(conn: &mut Conn, passkey: &Passkey) -> Result<()> {
    let values = (passkeys::name.eq(&passkey.name), passkeys::second_factor.eq(passkey.second_factor));
    on!(conn, c => diesel::update(passkeys::table.find((passkey.app_id, passkey.id))).set(values).execute(c))?;
    Ok(())
}

pub fn drop_passkey(conn: &mut Conn, app_id: AppId, id: PasskeyId) -> Result<()> {
    on!(conn, c => diesel::delete(passkeys::table.find((app_id, id))).execute(c))?;
    Ok(())
}

pub fn drop_passkeys(conn: &mut Conn, app_id: AppId, user: UserId) -> Result<()> {
    let target = passkeys::table.filter(passkeys::app_id.eq(app_id).and(passkeys::user_id.eq(user)));
    on!(conn, c => diesel::delete(target).execute(c))?;
    Ok(())
}

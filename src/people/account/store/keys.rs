//! Keys that sign our tokens.

use crate::error::Result;
use crate::on;
use crate::store::schema::signing_keys;
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde_json::Value;

/// A key that signs or has signed lately.
#[derive(Queryable)]
pub struct StoredKey {
    pub kid: String,
    pub sealed: Vec<u8>,
    pub made_ms: i64,
}

/// The keys that are not retired, oldest first: nodes that start at once agree on the first.
pub fn signing_keys(conn: &mut Conn) -> Result<Vec<StoredKey>> {
    Ok(on!(conn, c => signing_keys::table
        .filter(signing_keys::retired_ms.is_null())
        .order((signing_keys::created_ms, signing_keys::kid))
        .select((signing_keys::kid, signing_keys::sealed, signing_keys::created_ms))
        .load(c))?)
}

pub fn insert_signing_key(conn: &mut Conn, (kid, sealed, jwk): (&str, &[u8], &Value), now_ms: i64) -> Result<()> {
    let row = (
        signing_keys::kid.eq(kid),
        signing_keys::sealed.eq(sealed),
        signing_keys::public_jwk.eq(Doc(jwk.clone())),
        signing_keys::created_ms.eq(now_ms),
    );
    on!(conn, c => diesel::insert_into(signing_keys::table).values(row).execute(c))?;
    Ok(())
}

/// Destroys the private half of a key.
pub fn retire_key(conn: &mut Conn, kid: &str, now_ms: i64) -> Result<()> {
    let values = (signing_keys::sealed.eq(Vec::<u8>::new()), signing_keys::retired_ms.eq(now_ms));
    on!(conn, c => diesel::update(signing_keys::table.find(kid)).set(values).execute(c))?;
    Ok(())
}

/// The public halves of all keys, retired ones too, oldest first.
pub fn public_keys(conn: &mut Conn) -> Result<Vec<Doc<Value>>> {
    Ok(on!(conn, c => signing_keys::table
        .order((signing_keys::created_ms, signing_keys::kid))
        .select(signing_keys::public_jwk)
        .load(c))?)
}

//! Keys that sign our tokens.

use crate::error::Result;
use crate::on;
use crate::store::schema::signing_keys;
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde_json::Value;

/// The key that signs: the oldest that has not been retired, so that nodes which start at once agree.
pub fn signing_key(conn: &mut Conn) -> Result<Option<(String, Vec<u8>)>> {
    Ok(on!(conn, c => signing_keys::table
        .filter(signing_keys::retired_ms.is_null())
        .order((signing_keys::created_ms, signing_keys::kid))
        .select((signing_keys::kid, signing_keys::sealed))
        .first(c)
        .optional())?)
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

/// The public halves of all signing keys whose tokens are believed.
pub fn public_keys(conn: &mut Conn) -> Result<Vec<(String, Doc<Value>)>> {
    Ok(on!(conn, c => signing_keys::table
        .filter(signing_keys::retired_ms.is_null())
        .order((signing_keys::created_ms, signing_keys::kid))
        .select((signing_keys::kid, signing_keys::public_jwk))
        .load(c))?)
}

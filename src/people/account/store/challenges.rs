//! Single-use secrets, of which only hashes are stored.

use super::super::challenge::Kind;
use crate::error::Result;
use crate::id::{AppId, ChallengeId, UserId};
use crate::on;
use crate::store::schema::challenges;
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde_json::Value;

/// A row to be written.
#[derive(Insertable)]
#[diesel(table_name = challenges, treat_none_as_default_value = false)]
pub struct NewChallenge {
    pub app_id: AppId,
    pub id: ChallengeId,
    pub kind: &'static str,
    pub user_id: Option<UserId>,
    pub email: Option<String>,
    pub mode: String,
    pub token_hash: String,
    pub code_hash: String,
    pub tries: i64,
    pub state: Doc<Value>,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub used_ms: Option<i64>,
}

/// A row as it was read.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = challenges)]
pub struct Found {
    pub app_id: AppId,
    pub id: ChallengeId,
    pub user_id: Option<UserId>,
    pub email: Option<String>,
    pub mode: String,
    pub code_hash: String,
    pub state: Doc<Value>,
    pub expires_ms: i64,
    pub used_ms: Option<i64>,
}

pub fn insert_challenge(conn: &mut Conn, row: &NewChallenge) -> Result<()> {
    on!(conn, c => diesel::insert_into(challenges::table).values(row).execute(c))?;
    Ok(())
}

/// The challenge with this token, whatever its state; its app is in the row.
pub fn find(conn: &mut Conn, kind: Kind, token_hash: &str) -> Result<Option<Found>> {
    Ok(on!(conn, c => challenges::table
        .filter(challenges::token_hash.eq(token_hash).and(challenges::kind.eq(kind.name())))
        .select(Found::as_select())
        .first(c)
        .optional())?)
}

/// A challenge by its id, whatever its state.
pub fn challenge(conn: &mut Conn, app_id: AppId, id: ChallengeId, kind: Kind) -> Result<Option<Found>> {
    Ok(on!(conn, c => challenges::table
        .find((app_id, id))
        .filter(challenges::kind.eq(kind.name()))
        .select(Found::as_select())
        .first(c)
        .optional())?)
}

/// The newest challenge of a kind that is open for a user.
pub fn newest(conn: &mut Conn, (app_id, user): (AppId, UserId), kind: Kind) -> Result<Option<ChallengeId>> {
    Ok(on!(conn, c => challenges::table
        .filter(challenges::app_id.eq(app_id).and(challenges::user_id.eq(user)).and(challenges::kind.eq(kind.name())))
        .filter(challenges::used_ms.is_null())
        .order(challenges::id.desc())
        .select(challenges::id)
        .first(c)
        .optional())?)
}

/// Counts a try at the code of a challenge, before the code is looked at; the row, when there was one left to take.
pub fn take_try(
    conn: &mut Conn,
    (app_id, id): (AppId, ChallengeId),
    kind: Kind,
    (tries_max, now_ms): (i64, i64),
) -> Result<Option<Found>> {
    let target = challenges::table.filter(
        challenges::app_id
            .eq(app_id)
            .and(challenges::id.eq(id))
            .and(challenges::kind.eq(kind.name()))
            .and(challenges::used_ms.is_null())
            .and(challenges::expires_ms.gt(now_ms))
            .and(challenges::tries.lt(tries_max)),
    );
    let rows = on!(conn, c => diesel::update(target).set(challenges::tries.eq(challenges::tries + 1)).execute(c))?;
    if rows == 0 {
        return Ok(None);
    }
    Ok(on!(conn, c => challenges::table.find((app_id, id)).select(Found::as_select()).first(c).optional())?)
}

/// Uses a challenge up; false when somebody was faster or its time is over.
pub fn consume(conn: &mut Conn, (app_id, id): (AppId, ChallengeId), now_ms: i64) -> Result<bool> {
    let target = challenges::table.filter(
        challenges::app_id
            .eq(app_id)
            .and(challenges::id.eq(id))
            .and(challenges::used_ms.is_null())
            .and(challenges::expires_ms.gt(now_ms)),
    );
    Ok(on!(conn, c => diesel::update(target).set(challenges::used_ms.eq(now_ms)).execute(c))? == 1)
}

/// Ends what is open of a kind for a user.
pub fn use_up_all(conn: &mut Conn, kind: Kind, (app_id, user): (AppId, UserId), now_ms: i64) -> Result<()> {
    let target = challenges::table.filter(
        challenges::app_id
            .eq(app_id)
            .and(challenges::user_id.eq(user))
            .and(challenges::kind.eq(kind.name()))
            .and(challenges::used_ms.is_null()),
    );
    on!(conn, c => diesel::update(target).set(challenges::used_ms.eq(now_ms)).execute(c))?;
    Ok(())
}

/// Ends what else of this kind is open for the user or the address of a new one.
pub fn supersede(conn: &mut Conn, row: &NewChallenge) -> Result<()> {
    let open = challenges::table
        .filter(challenges::app_id.eq(row.app_id).and(challenges::kind.eq(row.kind)).and(challenges::used_ms.is_null()));
    match (row.user_id, &row.email) {
        (Some(user), _) => {
            let target = open.filter(challenges::user_id.eq(user));
            on!(conn, c => diesel::update(target).set(challenges::used_ms.eq(row.created_ms)).execute(c))?;
        }
        (None, Some(email)) => {
            let target = open.filter(challenges::email.eq(email));
            on!(conn, c => diesel::update(target).set(challenges::used_ms.eq(row.created_ms)).execute(c))?;
        }
        (None, None) => {}
    }
    Ok(())
}

//! Users, as far as this room makes and reads them.

use crate::error::Result;
use crate::http::FreeJson;
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::erasure;
use crate::store::schema::users;
use crate::store::{Conn, Doc};
use crate::webhook::{self, Event};
use diesel::prelude::*;
use serde_json::json;

/// The user behind an account, as the answers of this room show it.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct User {
    pub id: UserId,
    pub external_id: Option<String>,
    pub anonymous: bool,
    pub disabled: bool,
    pub created_ms: i64,
}

/// A user; one who is leaving is nobody.
pub fn user(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<Option<User>> {
    Ok(on!(conn, c => users::table
        .filter(users::app_id.eq(app_id).and(users::id.eq(id)).and(users::leaving_ms.is_null()))
        .select(User::as_select())
        .first(c)
        .optional())?)
}

/// Lets those who change how a user comes in, and those who come in as them, wait for one another until they are done.
pub fn hold_user(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<()> {
    conn.serialise(&format!("account:{app_id}:{id}"))
}

/// A user who has proven who they are and may come in. Whoever signs in while the erasure of their account can be undone
/// does not leave.
pub fn arriving(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<Option<User>> {
    hold_user(conn, app_id, id)?;
    erasure::restore(conn, app_id, id, None)?;
    Ok(user(conn, app_id, id)?.filter(|user| !user.disabled))
}

pub fn insert_user(conn: &mut Conn, app_id: AppId, (id, anonymous): (UserId, bool), now_ms: i64) -> Result<User> {
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
pub fn upgrade_user(conn: &mut Conn, app_id: AppId, id: UserId, now_ms: i64) -> Result<()> {
    let values = (users::anonymous.eq(false), users::revision.eq(users::revision + 1), users::updated_ms.eq(now_ms));
    on!(conn, c => diesel::update(users::table.find((app_id, id))).set(values).execute(c))?;
    webhook::emit(conn, app_id, &Event::of_change((id, now_ms), "upgraded", vec!["anonymous".to_owned()]))
}

/// Lets a user sign in, or no longer; false when it is so already.
pub fn set_disabled(conn: &mut Conn, app_id: AppId, (id, disabled): (UserId, bool), now_ms: i64) -> Result<bool> {
    let target = users::table.filter(users::app_id.eq(app_id).and(users::id.eq(id)).and(users::disabled.ne(disabled)));
    let values = (users::disabled.eq(disabled), users::revision.eq(users::revision + 1), users::updated_ms.eq(now_ms));
    if on!(conn, c => diesel::update(target).set(values).execute(c))? == 0 {
        return Ok(false);
    }
    let revision: i64 = on!(conn, c => users::table.find((app_id, id)).select(users::revision).first(c))?;
    webhook::emit(conn, app_id, &Event::of_change((id, now_ms), format!("{revision}:disabled"), vec!["disabled".to_owned()]))?;
    Ok(true)
}

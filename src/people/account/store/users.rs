//! Users, as far as this room makes and reads them.

use crate::error::Result;
use crate::http::FreeJson;
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::erasure;
use crate::platform::epoch;
use crate::store::schema::{emails, foreign_passwords, passwords, users};
use crate::store::{Conn, Doc, among};
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
    /// What the app wants its tokens to say.
    pub claims: Option<Doc<FreeJson>>,
}

/// A user; one who is leaving is nobody.
pub fn user(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<Option<User>> {
    Ok(on!(conn, c => users::table
        .filter(users::app_id.eq(app_id).and(users::id.eq(id)).and(users::leaving_ms.is_null()))
        .select(User::as_select())
        .first(c)
        .optional())?)
}

/// The language that a user has chosen.
pub fn locale(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<Option<String>> {
    let found: Option<Option<String>> =
        on!(conn, c => users::table.find((app_id, id)).select(users::locale).first(c).optional())?;
    Ok(found.flatten())
}

/// Lets those who change how a user comes in, and those who come in as them, wait for one another until they are done.
pub fn hold_user(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<()> {
    conn.serialise(&format!("account:{app_id}:{id}"))
}

/// A user who has proven who they are and may come in: also one who is leaving, while that can be undone.
pub fn arriving(conn: &mut Conn, app_id: AppId, id: UserId) -> Result<Option<User>> {
    hold_user(conn, app_id, id)?;
    let found = match erasure::is_undoable(conn, app_id, id)? {
        true => on!(conn, c => users::table.find((app_id, id)).select(User::as_select()).first(c).optional())?,
        false => user(conn, app_id, id)?,
    };
    Ok(found.filter(|user| !user.disabled))
}

/// They are in: whoever comes back while the erasure of their account can be undone does not leave. False when it began
/// meanwhile.
pub fn arrived(conn: &mut Conn, app_id: AppId, id: UserId, now_ms: i64) -> Result<bool> {
    if erasure::restore(conn, app_id, id, Some(now_ms))? {
        // What was decided while they were leaving is looked at again.
        epoch::bump(conn, app_id, epoch::Scope::Consent(id))?;
    }
    Ok(user(conn, app_id, id)?.is_some())
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
    Ok(User { id, external_id: None, anonymous, disabled: false, created_ms: now_ms, claims: None })
}

/// Turns an anonymous user into one with an account, in place.
pub fn upgrade_user(conn: &mut Conn, app_id: AppId, id: UserId, now_ms: i64) -> Result<()> {
    let values = (users::anonymous.eq(false), users::revision.eq(users::revision + 1), users::updated_ms.eq(now_ms));
    on!(conn, c => diesel::update(users::table.find((app_id, id))).set(values).execute(c))?;
    webhook::emit(conn, app_id, &Event::of_change((id, now_ms), "upgraded", vec!["anonymous".to_owned()]))
}

/// Says what the user's tokens are to say.
pub fn set_claims(conn: &mut Conn, app_id: AppId, id: UserId, claims: Option<FreeJson>) -> Result<()> {
    on!(conn, c => diesel::update(users::table.find((app_id, id))).set(users::claims.eq(claims.map(Doc))).execute(c))?;
    Ok(())
}

/// Moves a user's revision on, and tells what changed.
pub fn touch(conn: &mut Conn, app_id: AppId, id: UserId, (changed, now_ms): (Vec<String>, i64)) -> Result<()> {
    let values = (users::revision.eq(users::revision + 1), users::updated_ms.eq(now_ms));
    on!(conn, c => diesel::update(users::table.find((app_id, id))).set(values).execute(c))?;
    let revision: i64 = on!(conn, c => users::table.find((app_id, id)).select(users::revision).first(c))?;
    webhook::emit(conn, app_id, &Event::of_change((id, now_ms), format!("{revision}:account"), changed))
}

/// What the app's back end sees of accounts beside their profiles.
pub fn standings(conn: &mut Conn, app_id: AppId, ids: &[UserId]) -> Result<Vec<(UserId, bool, Option<Doc<FreeJson>>)>> {
    Ok(on!(conn, c => users::table
        .filter(users::app_id.eq(app_id).and(among(users::id, ids)))
        .select((users::id, users::disabled, users::claims))
        .load(c))?)
}

/// Which users are looked for; what is absent does not matter.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The whole address, in lower case.
    pub email: Option<String>,
    /// The whole external id.
    pub external_id: Option<String>,
    /// How the address or the external id begins.
    pub begins: Option<String>,
    /// Whether the account is disabled.
    pub disabled: Option<bool>,
    /// Whether they have not signed up yet.
    pub anonymous: Option<bool>,
}

/// The users who fit, after an id, in the order of their ids.
pub fn search(conn: &mut Conn, app_id: AppId, search: &Search, (after, rows): (&str, i64)) -> Result<Vec<UserId>> {
    let begins = search.begins.as_deref().map(|text| format!("{}%", escaped(text)));
    let begins_lower = begins.as_deref().map(str::to_lowercase);
    let (email, begins) = (search.email.as_deref(), begins.as_deref().zip(begins_lower.as_deref()));
    Ok(on!(conn, c => {
        let with = emails::table.filter(emails::app_id.eq(app_id)).select(emails::user_id);
        let claiming = passwords::table.filter(passwords::app_id.eq(app_id)).select(passwords::user_id);
        let brought_in =
            foreign_passwords::table.filter(foreign_passwords::app_id.eq(app_id)).select(foreign_passwords::user_id);
        let mut query = users::table
            .filter(users::app_id.eq(app_id).and(users::id.gt(after)).and(users::leaving_ms.is_null()))
            .into_boxed();
        if let Some(email) = email {
            let (proven, claimed) = (with.filter(emails::email.eq(email)), claiming.filter(passwords::email.eq(email)));
            let brought = brought_in.filter(foreign_passwords::email.eq(email));
            query = query.filter(users::id.eq_any(proven).or(users::id.eq_any(claimed)).or(users::id.eq_any(brought)));
        }
        if let Some(external_id) = &search.external_id {
            query = query.filter(users::external_id.eq(external_id));
        }
        if let Some((begins, lower)) = begins {
            let proven = with.filter(emails::email.like(lower).escape('!'));
            let claimed = claiming.filter(passwords::email.like(lower).escape('!'));
            let named = users::external_id.is_not_null().and(users::external_id.assume_not_null().like(begins).escape('!'));
            let brought = brought_in.filter(foreign_passwords::email.like(lower).escape('!'));
            let addressed = users::id.eq_any(proven).or(users::id.eq_any(claimed)).or(users::id.eq_any(brought));
            query = query.filter(addressed.or(named));
        }
        if let Some(disabled) = search.disabled {
            query = query.filter(users::disabled.eq(disabled));
        }
        if let Some(anonymous) = search.anonymous {
            query = query.filter(users::anonymous.eq(anonymous));
        }
        query.order(users::id).limit(rows).select(users::id).load(c)
    })?)
}

/// A text of which `like` takes every character as it is.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '!' | '%' | '_').then_some('!').into_iter().chain([c])).collect()
}

/// Lets a user sign in, or no longer; false when it is so already.
pub fn set_disabled(conn: &mut Conn, app_id: AppId, (id, disabled): (UserId, bool)) -> Result<bool> {
    let target = users::table.filter(users::app_id.eq(app_id).and(users::id.eq(id)).and(users::disabled.ne(disabled)));
    Ok(on!(conn, c => diesel::update(target).set(users::disabled.eq(disabled)).execute(c))? == 1)
}

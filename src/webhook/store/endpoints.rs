//! Endpoints in the database.

use crate::error::{Error, Result};
use crate::id::{AppId, WebhookId};
use crate::on;
use crate::store::schema::{webhook_deliveries, webhooks};
use crate::store::{Conn, Doc};
use crate::webhook::Owner;
use diesel::prelude::*;

/// Most endpoints of one owner.
const ENDPOINTS_MAX: i64 = 20;

/// A stored endpoint.
#[derive(Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = webhooks, treat_none_as_default_value = false, treat_none_as_null = true)]
pub(in crate::webhook) struct Endpoint {
    pub(in crate::webhook) app_id: AppId,
    pub(in crate::webhook) id: WebhookId,
    /// '' for the app's own.
    pub(in crate::webhook) partner_id: String,
    pub(in crate::webhook) url: String,
    pub(in crate::webhook) description: String,
    pub(in crate::webhook) event_types: Doc<Vec<String>>,
    pub(in crate::webhook) enabled: bool,
    pub(in crate::webhook) disabled_reason: Option<String>,
    pub(in crate::webhook) disabled_ms: Option<i64>,
    pub(in crate::webhook) secret: Vec<u8>,
    pub(in crate::webhook) secret_ms: i64,
    pub(in crate::webhook) old_secret: Option<Vec<u8>>,
    pub(in crate::webhook) old_secret_until_ms: Option<i64>,
    pub(in crate::webhook) failing_since_ms: Option<i64>,
    pub(in crate::webhook) throttled_until_ms: Option<i64>,
    pub(in crate::webhook) created_ms: i64,
    pub(in crate::webhook) updated_ms: i64,
    /// Whether it hears what came of messages: what its filter says, where a statement can ask.
    pub(in crate::webhook) results: bool,
}

/// How the database spells an owner: the partner's id, or '' for the app itself.
pub(in crate::webhook) fn word(owner: Owner) -> String {
    owner.partner.map(|partner| partner.to_string()).unwrap_or_default()
}

/// All endpoints of an owner.
pub(in crate::webhook) fn all(conn: &mut Conn, owner: Owner) -> Result<Vec<Endpoint>> {
    page(conn, owner, ("", ENDPOINTS_MAX))
}

/// Endpoints of an owner after an id.
pub(in crate::webhook) fn page(conn: &mut Conn, owner: Owner, (after, rows): (&str, i64)) -> Result<Vec<Endpoint>> {
    Ok(on!(conn, c => webhooks::table
        .filter(webhooks::app_id.eq(owner.app).and(webhooks::partner_id.eq(word(owner))).and(webhooks::id.gt(after)))
        .order(webhooks::id)
        .limit(rows)
        .select(Endpoint::as_select())
        .load(c))?)
}

/// One endpoint of an owner.
pub(in crate::webhook) fn find(conn: &mut Conn, owner: Owner, id: WebhookId) -> Result<Endpoint> {
    let found = by_id(conn, owner.app, id)?.filter(|endpoint| endpoint.partner_id == word(owner));
    found.ok_or_else(|| Error::not_found("webhook"))
}

/// One endpoint, whosever it is.
pub(in crate::webhook) fn by_id(conn: &mut Conn, app: AppId, id: WebhookId) -> Result<Option<Endpoint>> {
    Ok(on!(conn, c => webhooks::table.find((app, id)).select(Endpoint::as_select()).first(c).optional())?)
}

/// Lets changes of one endpoint wait for one another.
pub(in crate::webhook) fn lock(conn: &mut Conn, id: WebhookId) -> Result<()> {
    conn.serialise(&format!("webhook:{id}"))
}

/// Adds an endpoint.
pub(in crate::webhook) fn insert(conn: &mut Conn, endpoint: &Endpoint) -> Result<()> {
    conn.serialise(&format!("webhooks:{}:{}", endpoint.app_id, endpoint.partner_id))?;
    let count: i64 = on!(conn, c => webhooks::table
        .filter(webhooks::app_id.eq(endpoint.app_id).and(webhooks::partner_id.eq(&endpoint.partner_id)))
        .count()
        .get_result(c))?;
    if count >= ENDPOINTS_MAX {
        return Err(Error::conflict("too_many", format!("There may be at most {ENDPOINTS_MAX} webhooks here.")));
    }
    on!(conn, c => diesel::insert_into(webhooks::table).values(endpoint).execute(c))?;
    Ok(())
}

/// Writes an endpoint anew.
pub(in crate::webhook) fn update(conn: &mut Conn, endpoint: &Endpoint) -> Result<()> {
    on!(conn, c => diesel::update(webhooks::table.find((endpoint.app_id, endpoint.id))).set(endpoint).execute(c))?;
    Ok(())
}

/// Removes an endpoint and all that was to go there.
pub(in crate::webhook) fn delete(conn: &mut Conn, app: AppId, id: WebhookId) -> Result<()> {
    on!(conn, c => diesel::delete(webhooks::table.find((app, id))).execute(c))?;
    on!(conn, c => diesel::delete(webhook_deliveries::table
            .filter(webhook_deliveries::app_id.eq(app).and(webhook_deliveries::webhook_id.eq(id))))
        .execute(c))?;
    Ok(())
}

impl Endpoint {
    /// Nothing goes there until its owner enables it again.
    pub(in crate::webhook) fn switch_off(&mut self, reason: &str, now_ms: i64) {
        (self.enabled, self.disabled_reason, self.disabled_ms) = (false, Some(reason.to_owned()), Some(now_ms));
        self.updated_ms = now_ms;
    }

    /// What was held against it is forgotten.
    pub(in crate::webhook) fn forgive(&mut self) {
        (self.failing_since_ms, self.throttled_until_ms) = (None, None);
    }
}

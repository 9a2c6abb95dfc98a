//! `/v1/audit`: who changed what in this app, and whether the log is whole.

use crate::app::caller::BackOffice;
use crate::app::scope::Scope;
use crate::audit::{self, Filter, Row};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Page, PageQuery, ProblemBody, Query, check_text};
use crate::platform::Platform;
use actix_web::web;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest text of a filter, in characters.
const FILTER_MAX: usize = 200;

/// Which rows, newest first.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only what this key (`key_…`), operator (`opr_…`), `command` or `nobody` did.
    actor: Option<String>,
    /// Only actions that begin so, e.g. `/v1/campaigns`.
    action: Option<String>,
    /// Only what was done to the thing with this id or key.
    object: Option<String>,
    /// Only from this time on.
    since: Option<Time>,
    /// Only before this time.
    until: Option<Time>,
}

/// One row of the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditRow)]
pub struct RowOut {
    /// Its place in the app's chain: 1, 2, 3, …
    seq: i64,
    at: Time,
    /// The key or operator, `command` for a command on the machine itself, `nobody` for a failed sign-in.
    actor: String,
    /// The template of the route and the method, or the name of what was done.
    action: String,
    /// Ids and keys of what it was done to.
    objects: Vec<String>,
    /// Names of the fields that were sent; never their values.
    fields: Vec<String>,
    details: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// SHA-256 in hex of the hash before it, in hex (64 zeros before the first), and the JSON array without blanks
    /// `[app_id, seq, at in ms, actor, action, objects, fields, details, request_id or null]`.
    hash: String,
}

/// What a walk along the whole chain found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditChain)]
pub struct ChainOut {
    /// Whether every row follows from the one before it.
    whole: bool,
    /// How many rows there are. Keep it with `head`: with both, a cut end is seen too.
    count: i64,
    /// The hash of the last row.
    head: String,
    /// The place of the first row that is missing or does not follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_bad: Option<i64>,
}

impl From<Row> for RowOut {
    fn from(row: Row) -> Self {
        let Row { chain: _, seq, at_ms, actor, action, objects, fields, details, request_id, hash } = row;
        Self { seq, at: Time(at_ms), actor, action, objects, fields, details, request_id, hash }
    }
}

impl AuditQuery {
    fn filter(self) -> Result<(PageQuery, Filter)> {
        let Self { limit, cursor, actor, action, object, since, until } = self;
        for (field, text) in [("actor", &actor), ("action", &action), ("object", &object)] {
            if let Some(text) = text {
                check_text(field, text, FILTER_MAX)?;
            }
        }
        let wrong = |_| Error::invalid("cursor", "invalid", "expected the next_cursor of the page before");
        let before_seq = cursor.as_deref().map(str::parse::<i64>).transpose().map_err(wrong)?;
        let (since_ms, until_ms) = (since.map(|at| at.0), until.map(|at| at.0));
        Ok((PageQuery { limit, cursor }, Filter { before_seq, actor, action, object, since_ms, until_ms }))
    }
}

/// Shows who changed what, newest first.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<RowOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<AuditQuery>,
) -> Result<web::Json<Page<RowOut>>> {
    caller.need(Scope::AuditRead)?;
    let (page, filter) = query.0.filter()?;
    let rows = page.rows()?;
    let found = platform.store.read(move |conn| audit::page(conn, caller.app_id, (&filter, rows))).await?;
    Ok(web::Json(page.page(found, |row| row.seq.to_string(), RowOut::from)?))
}

/// Walks the app's whole log and says whether it is whole.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", security(("server_key" = [])),
    responses((status = 200, body = ChainOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn verify(caller: BackOffice, platform: web::Data<Platform>) -> Result<web::Json<ChainOut>> {
    caller.need(Scope::AuditRead)?;
    let walk = audit::verify(&platform.store, Some(caller.app_id)).await?;
    Ok(web::Json(ChainOut { whole: walk.first_bad.is_none(), count: walk.count, head: walk.head, first_bad: walk.first_bad }))
}

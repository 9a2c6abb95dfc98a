//! The audit log in the database.

use super::Entry;
use super::chain::{Row, hash};
use crate::error::Result;
use crate::id::AppId;
use crate::on;
use crate::store::schema::audit;
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use std::collections::BTreeMap;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = audit, treat_none_as_default_value = false)]
struct Stored {
    app_id: String,
    seq: i64,
    at_ms: i64,
    actor: String,
    action: String,
    objects: Doc<Vec<String>>,
    fields: Doc<Vec<String>>,
    details: Doc<BTreeMap<String, String>>,
    request_id: Option<String>,
    hash: String,
}

impl From<Stored> for Row {
    fn from(stored: Stored) -> Self {
        let Stored { app_id, seq, at_ms, actor, action, objects, fields, details, request_id, hash } = stored;
        let (objects, fields, details) = (objects.0, fields.0, details.0);
        Self { chain: app_id, seq, at_ms, actor, action, objects, fields, details, request_id, hash }
    }
}

/// Which rows of an app to show, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those before this place.
    pub before_seq: Option<i64>,
    /// Only this actor's.
    pub actor: Option<String>,
    /// Only actions that begin so.
    pub action: Option<String>,
    /// Only what was done to this.
    pub object: Option<String>,
    /// Only from this time on, in UTC milliseconds.
    pub since_ms: Option<i64>,
    /// Only before this time, in UTC milliseconds.
    pub until_ms: Option<i64>,
}

fn name(chain: Option<AppId>) -> String {
    chain.map_or_else(String::new, |app| app.to_string())
}

/// Appends to the chain of an app, or to the installation's own. Others who append to it wait until the transaction ends,
/// so call it last.
///
/// # Errors
/// What the database says.
pub fn append(conn: &mut Conn, chain: Option<AppId>, entry: Entry) -> Result<()> {
    let chain = name(chain);
    // One row after the other, in the order of the commits.
    conn.serialise(&format!("audit:{chain}"))?;
    let last: Option<(i64, String)> = on!(conn, c => audit::table
        .filter(audit::app_id.eq(&chain)).order(audit::seq.desc()).select((audit::seq, audit::hash)).first(c).optional())?;
    let (seq, before) = last.unwrap_or_default();
    let Entry { at_ms, actor, action, objects, fields, details, request_id } = entry;
    let actor = actor.to_string();
    let mut row = Row { chain, seq: seq + 1, at_ms, actor, action, objects, fields, details, request_id, hash: String::new() };
    row.hash = hash(&before, &row);
    let stored = Stored {
        app_id: row.chain,
        seq: row.seq,
        at_ms,
        actor: row.actor,
        action: row.action,
        objects: Doc(row.objects),
        fields: Doc(row.fields),
        details: Doc(row.details),
        request_id: row.request_id,
        hash: row.hash,
    };
    on!(conn, c => diesel::insert_into(audit::table).values(&stored).execute(c))?;
    Ok(())
}

/// Rows of an app, newest first.
///
/// # Errors
/// What the database says.
pub fn page(conn: &mut Conn, app: AppId, (filter, rows): (&Filter, i64)) -> Result<Vec<Row>> {
    // Nothing lies beyond these bounds.
    let Filter { before_seq, actor, action, object, since_ms, until_ms } = filter;
    let (before, since, until) = (before_seq.unwrap_or(i64::MAX), since_ms.unwrap_or(i64::MIN), until_ms.unwrap_or(i64::MAX));
    let action = format!("{}%", literal(action.as_deref().unwrap_or("")));
    let object = object.as_ref().map_or_else(|| "%".to_owned(), |object| format!("%\"{}\"%", literal(object)));
    let found: Vec<Stored> = on!(conn, c => {
        let all = audit::table
            .filter(audit::app_id.eq(app.to_string()).and(audit::seq.lt(before)))
            .filter(audit::at_ms.ge(since).and(audit::at_ms.lt(until)))
            .filter(audit::action.like(action).escape('!').and(audit::objects.like(object).escape('!')))
            .order(audit::seq.desc()).limit(rows).select(Stored::as_select());
        match actor {
            Some(actor) => all.filter(audit::actor.eq(actor)).load(c),
            None => all.load(c),
        }
    })?;
    Ok(found.into_iter().map(Row::from).collect())
}

/// A text as a pattern that fits nothing else.
fn literal(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// The rows of a chain after a place, oldest first.
///
/// # Errors
/// What the database says.
pub fn rows_after(conn: &mut Conn, chain: Option<AppId>, after: i64, rows: i64) -> Result<Vec<Row>> {
    let found: Vec<Stored> = on!(conn, c => audit::table
        .filter(audit::app_id.eq(name(chain)).and(audit::seq.gt(after)))
        .order(audit::seq).limit(rows).select(Stored::as_select()).load(c))?;
    Ok(found.into_iter().map(Row::from).collect())
}

/// Every chain there is; `None` is the installation's own.
///
/// # Errors
/// What the database says.
pub fn chains(conn: &mut Conn) -> Result<Vec<Option<AppId>>> {
    let names: Vec<String> = on!(conn, c => audit::table.select(audit::app_id).distinct().order(audit::app_id).load(c))?;
    Ok(names.iter().map(|name| name.parse().ok()).collect())
}

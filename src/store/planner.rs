//! What SQLite's planner is told about the tables: the figures of a large app.
//!
//! Every key begins with the app, and without figures SQLite takes ten rows for all that one app has: it then walks
//! every device of the app in the order of their ids rather than sort the two of one user. `ANALYZE` would count what is
//! there now: plans would differ from one database to the next, change under load, and be at their worst while an app
//! grows. So the figures are made up, once and for all, from the names of the indexed columns
//! (<https://www.sqlite.org/optoverview.html#manctrl>): the same plans everywhere, made for where they matter.
//! PostgreSQL counts by itself. Whoever runs `ANALYZE` by hand gets counted figures until the next start.

use super::{Conn, Engine};
use crate::error::Result;
use crate::on;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Rows of every table.
const ROWS: u64 = 1_000_000;
/// Rows of an index on a part of its table.
const PART: u64 = 100_000;
/// Of so many rows one app has one: most servers have one large app.
const APPS: u64 = 2;
/// Rows that share a word, a campaign, a place: one in so many.
const COARSE: u64 = 20;
/// Rows that share what tells things apart: a user's, a decision's, an event's.
const FINE: u64 = 10;

/// Columns whose values a large part of an app shares; with their table, those that are null for most of it, and are asked
/// for as null.
const COARSE_COLUMNS: &[&str] = &[
    "decisions.moment_id",
    "events.user_id",
    "imports.finished_ms",
    "campaign_id",
    "channel_id",
    "environment",
    "gateway",
    "import_id",
    "kind",
    "lane",
    "partner_id",
    "place_id",
    "platform",
    "provider",
    "purpose",
    "push_id",
    "route",
    "scope",
    "source",
    "state",
    "test",
    "type",
    "webhook_id",
    "zone",
];

/// The condition of an index on a part of its table, word for word as its migration has it: SQLite uses the index for no
/// other words, and for no bound ones.
pub fn part(words: &str) -> SqlLiteral<Bool> {
    sql(&format!("({words})"))
}

/// A column of an index.
#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Text)]
    idx: String,
    #[diesel(sql_type = Bool)]
    once: bool,
    #[diesel(sql_type = Bool)]
    part: bool,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

/// A row of `sqlite_stat1`: a table's figure has no index.
#[derive(QueryableByName, PartialEq, Eq, PartialOrd, Ord)]
struct Figure {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Nullable<Text>)]
    idx: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    stat: Option<String>,
}

/// Writes the figures, if they are not there yet; connections that are opened from now on plan by them.
pub(super) fn inform(conn: &mut Conn) -> Result<()> {
    if conn.engine() == Engine::Postgres {
        return Ok(());
    }
    let wanted = figures(conn)?;
    let counted = "(select count(*) from sqlite_master where name = 'sqlite_stat1')";
    let counted: i64 = on!(conn, c => diesel::select(sql::<BigInt>(counted)).get_result(c))?;
    if counted == 0 {
        // The first count makes the table of figures; this one is of a few rows.
        conn.batch("ANALYZE __diesel_schema_migrations")?;
    }
    let there: Vec<Figure> = on!(conn, c => diesel::sql_query("select tbl, idx, stat from sqlite_stat1").load(c))?;
    if there.into_iter().collect::<BTreeSet<Figure>>() == wanted {
        return Ok(());
    }
    let mut sql = "BEGIN IMMEDIATE; delete from sqlite_stat1;".to_owned();
    for Figure { tbl, idx, stat } in &wanted {
        let idx = idx.as_ref().map_or_else(|| "null".to_owned(), |idx| format!("'{idx}'"));
        let stat = stat.as_deref().unwrap_or_default();
        let _ = write!(sql, "insert into sqlite_stat1 (tbl, idx, stat) values ('{tbl}', {idx}, '{stat}');");
    }
    sql.push_str("COMMIT");
    conn.batch(&sql)
}

fn figures(conn: &mut Conn) -> Result<BTreeSet<Figure>> {
    let query = "select m.name as tbl, l.name as idx, l.\"unique\" as once, l.partial as part, i.name as name \
        from sqlite_master m join pragma_index_list(m.name) l join pragma_index_info(l.name) i \
        where m.type = 'table' and m.name not like 'sqlite%' order by m.name, l.name, i.seqno";
    let columns: Vec<Column> = on!(conn, c => diesel::sql_query(query).load(c))?;
    let mut indexes: BTreeMap<(String, String), (bool, bool, Vec<String>)> = BTreeMap::new();
    for Column { tbl, idx, once, part, name } in columns {
        indexes.entry((tbl, idx)).or_insert((once, part, Vec::new())).2.push(name.unwrap_or_default());
    }
    let mut all = BTreeSet::new();
    for ((tbl, idx), (once, part, columns)) in indexes {
        let stat = stat(&tbl, (once, part), &columns);
        all.insert(Figure { tbl: tbl.clone(), idx: Some(idx), stat: Some(stat) });
        all.insert(Figure { tbl, idx: None, stat: Some(ROWS.to_string()) });
    }
    Ok(all)
}

/// How many rows an index has, and how many of them agree in their first column, in their first two, and so on.
fn stat(table: &str, (once, part): (bool, bool), columns: &[String]) -> String {
    let mut rows = if part { PART } else { ROWS };
    let mut text = rows.to_string();
    for (n, column) in columns.iter().enumerate() {
        rows = match column.as_str() {
            _ if once && n + 1 == columns.len() => 1,
            "app_id" => rows / APPS,
            column if is_coarse(table, column) => rows / COARSE,
            _ => rows.min(FINE),
        };
        rows = rows.max(1);
        let _ = write!(text, " {rows}");
    }
    // There are never so few apps or platforms that each is worth a look of its own.
    text.push_str(" noskipscan");
    text
}

fn is_coarse(table: &str, column: &str) -> bool {
    COARSE_COLUMNS.iter().any(|coarse| *coarse == column || coarse.split_once('.') == Some((table, column)))
}

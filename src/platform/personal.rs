//! What a room says of the personal data that it holds, so that they can be shown, forgotten and handed over.
//!
//! A room has one `personal.rs` with a [`Room`]: its tables, and what rows alone do not say. `privacy` calls them all.
//! A new table that holds something about a user needs one [`Table`] there; a test that walks the schema insists.

use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::on;
use crate::store::{Conn, Engine};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Map, Value};

/// A room that holds personal data.
pub struct Room {
    /// Its tables, in the order in which their rows go.
    pub tables: &'static [Table],
    /// Forgets what does not go row by row; called before the rows of its tables go.
    pub erase: Option<Erase>,
    /// Hands over what decides about the user at once, in the transaction that begins a merge.
    pub turn_over: Option<TurnOver>,
    /// Hands over the rest, as far as the budget reaches, until there is nothing left.
    pub absorb: Option<Absorb>,
}

/// Forgets at most as many rows of a user as the budget has.
pub type Erase = fn(&mut Conn, (AppId, UserId), &mut Budget) -> Result<()>;
/// Hands over at once what decides.
pub type TurnOver = fn(&mut Conn, &Merge) -> Result<()>;
/// Hands over at most as many rows as the budget has.
pub type Absorb = fn(&mut Conn, &Merge, &mut Budget) -> Result<()>;

/// A user whose history becomes another's.
#[derive(Debug, Clone, Copy)]
pub struct Merge {
    /// The tenant.
    pub app: AppId,
    /// Whose history it was.
    pub from: UserId,
    /// Whose it becomes.
    pub into: UserId,
    /// Now, in UTC milliseconds.
    pub now_ms: i64,
}

/// How many rows one transaction may still touch, so that nobody waits long for it.
#[derive(Debug)]
pub struct Budget {
    left: i64,
    touched: bool,
    waits: bool,
}

impl Budget {
    /// A budget of this many rows.
    pub fn of(rows: i64) -> Self {
        Self { left: rows, touched: false, waits: false }
    }

    /// How many rows may still be touched.
    pub fn left(&self) -> i64 {
        self.left.max(0)
    }

    /// Notes that rows were touched.
    pub fn spend(&mut self, rows: usize) {
        self.left = self.left.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX));
        self.touched |= rows > 0;
    }

    /// Notes that something cannot be touched yet: it is being sent.
    pub fn wait(&mut self) {
        self.waits = true;
    }

    /// Whether nothing was touched.
    pub fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Whether nothing is there any more: nothing was touched, and nothing waits.
    pub fn found_nothing(&self) -> bool {
        !self.touched && !self.waits
    }
}

/// A table with rows about users. All names are our own, never a caller's.
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The view whose rows an export shows instead of its own.
    pub shown_in: Option<&'static str>,
    /// The name of its rows in an export.
    pub section: &'static str,
    /// What tells its rows apart in an app, as an SQL text.
    pub key: &'static str,
    /// Which rows are a user's: a condition in which `$1` is the app and `$2` the user.
    pub whose: &'static str,
    /// What an export shows of it. What it does not show is secret or says nothing about the user; the test that walks the
    /// schema has the reason.
    pub shows: &'static [Column],
    /// The last touch to a row of an export.
    pub finish: Option<fn(&mut Map<String, Value>) -> Result<()>>,
}

/// Rows that name their user in `user_id`.
pub const OF_USER: &str = "user_id = $2";

/// A column that an export shows.
pub struct Column(&'static str, Kind);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Time,
    Flag,
    Document,
    Packed,
}

/// A text or a number.
pub const fn plain(name: &'static str) -> Column {
    Column(name, Kind::Plain)
}

/// A time in a column named `*_ms`; shown as `*_at`.
pub const fn time(name: &'static str) -> Column {
    Column(name, Kind::Time)
}

/// A boolean.
pub const fn flag(name: &'static str) -> Column {
    Column(name, Kind::Flag)
}

/// A JSON document.
pub const fn document(name: &'static str) -> Column {
    Column(name, Kind::Document)
}

/// Bytes, shown in hex; `finish` makes them legible.
pub const fn packed(name: &'static str) -> Column {
    Column(name, Kind::Packed)
}

impl Column {
    fn field(&self, engine: Engine) -> String {
        let Self(name, kind) = self;
        let value = match (kind, engine) {
            (Kind::Packed, Engine::Sqlite) => format!("hex({name})"),
            (Kind::Packed, Engine::Postgres) => format!("encode({name}, 'hex')"),
            (Kind::Plain | Kind::Time | Kind::Flag | Kind::Document, _) => (*name).to_owned(),
        };
        format!("'{name}', {value}")
    }

    fn read(&self, row: &mut Map<String, Value>) -> Result<()> {
        let Self(name, kind) = self;
        let Some(value) = row.remove(*name) else { return Ok(()) };
        // What is not there is not shown.
        if value.is_null() {
            return Ok(());
        }
        let (name, value) = match kind {
            Kind::Plain | Kind::Packed => ((*name).to_owned(), value),
            Kind::Flag => ((*name).to_owned(), Value::Bool(value == true || value == 1)),
            Kind::Document => {
                ((*name).to_owned(), serde_json::from_str(value.as_str().unwrap_or("null")).map_err(Error::broken)?)
            }
            Kind::Time => {
                let at = value.as_i64().ok_or_else(|| Error::broken("a time is no number"))?;
                (format!("{}_at", name.trim_end_matches("_ms")), Value::String(Time(at).to_string()))
            }
        };
        row.insert(name, value);
        Ok(())
    }
}

#[derive(QueryableByName)]
struct Shown {
    #[diesel(sql_type = Text)]
    at: String,
    #[diesel(sql_type = Text)]
    item: String,
}

/// A user's rows of a table as an export shows them, after a key and in the order of keys.
///
/// # Errors
/// What the database says.
pub fn page(
    conn: &mut Conn,
    table: &Table,
    (app, user): (AppId, UserId),
    (after, rows): (&str, i64),
) -> Result<Vec<(String, Map<String, Value>)>> {
    let engine = conn.engine();
    let (object, text) = match engine {
        Engine::Sqlite => ("json_object", ""),
        Engine::Postgres => ("json_build_object", "::text"),
    };
    let fields: Vec<String> = table.shows.iter().map(|column| column.field(engine)).collect();
    let Table { name, key, whose, .. } = table;
    let name = table.shown_in.unwrap_or(name);
    let query = format!(
        "select {key} as at, {object}({}){text} as item from {name} where app_id = $1 and {whose} and {key} > $3 order by {key} limit $4",
        fields.join(", ")
    );
    let found: Vec<Shown> = on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(app)
        .bind::<Text, _>(user)
        .bind::<Text, _>(after)
        .bind::<BigInt, _>(rows)
        .load(c))?;
    found
        .into_iter()
        .map(|row| {
            let mut item: Map<String, Value> = serde_json::from_str(&row.item).map_err(Error::broken)?;
            table.shows.iter().try_for_each(|column| column.read(&mut item))?;
            table.finish.map_or(Ok(()), |finish| finish(&mut item))?;
            Ok((row.at, item))
        })
        .collect()
}

/// Forgets rows of a user, as many as the budget has.
///
/// # Errors
/// What the database says.
pub fn forget(conn: &mut Conn, table: &Table, (app, user): (AppId, UserId), budget: &mut Budget) -> Result<()> {
    if budget.left() == 0 {
        return Ok(());
    }
    let Table { name, key, whose, .. } = table;
    let query = format!(
        "delete from {name} where app_id = $1 and {whose} and {key} in \
         (select {key} from {name} where app_id = $1 and {whose} limit $3)"
    );
    let gone = on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(app)
        .bind::<Text, _>(user)
        .bind::<BigInt, _>(budget.left())
        .execute(c))?;
    budget.spend(gone);
    Ok(())
}

/// Gives rows of one user to the other, as many as the budget has. The table has a `user_id`.
///
/// # Errors
/// What the database says.
pub fn hand_over(conn: &mut Conn, (table, key): (&str, &str), merge: &Merge, budget: &mut Budget) -> Result<()> {
    if budget.left() == 0 {
        return Ok(());
    }
    let query = format!(
        "update {table} set user_id = $1 where app_id = $2 and user_id = $3 and {key} in \
         (select {key} from {table} where app_id = $2 and user_id = $3 limit $4)"
    );
    let moved = on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(merge.into)
        .bind::<Text, _>(merge.app)
        .bind::<Text, _>(merge.from)
        .bind::<BigInt, _>(budget.left())
        .execute(c))?;
    budget.spend(moved);
    Ok(())
}

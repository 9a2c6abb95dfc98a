//! `column in (these)` with all values in one parameter, so that the text of a query is the same for five as for five
//! hundred. Diesel's `eq_any` writes a placeholder for each on SQLite and prepares the statement anew every time: on the
//! way of a push that costs more than the look-ups. PostgreSQL gets an array, as from `eq_any`.

use diesel::expression::{AppearsOnTable, SelectableExpression, ValidGrouping};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Array, Bool, Text};
use diesel::sqlite::Sqlite;

/// Whether a column of text holds one of these.
pub fn among<C>(column: C, these: impl IntoIterator<Item = impl ToString>) -> Among<C> {
    Among { column, these: List(these.into_iter().map(|one| one.to_string()).collect()) }
}

/// See [`among`].
#[derive(Debug, Clone, QueryId)]
pub struct Among<C> {
    column: C,
    these: List,
}

#[derive(Debug, Clone)]
struct List(Vec<String>);

impl QueryId for List {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

/// A JSON array, which SQLite's `json_each` takes apart.
impl ToSql<Text, Sqlite> for List {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(serde_json::to_string(&self.0)?);
        Ok(IsNull::No)
    }
}

impl<C: Expression<SqlType = Text>> Expression for Among<C> {
    type SqlType = Bool;
}

impl<C: AppearsOnTable<Source>, Source> AppearsOnTable<Source> for Among<C> where Self: Expression {}

impl<C: SelectableExpression<Source>, Source> SelectableExpression<Source> for Among<C> where Self: AppearsOnTable<Source> {}

impl<C: ValidGrouping<Clause>, Clause> ValidGrouping<Clause> for Among<C> {
    type IsAggregate = C::IsAggregate;
}

impl<C: QueryFragment<Sqlite>> QueryFragment<Sqlite> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" in (select value from json_each(");
        out.push_bind_param::<Text, _>(&self.these)?;
        out.push_sql("))");
        Ok(())
    }
}

impl<C: QueryFragment<Pg>> QueryFragment<Pg> for Among<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" = any(");
        out.push_bind_param::<Array<Text>, _>(&self.these.0)?;
        out.push_sql(")");
        Ok(())
    }
}

//! `column in (these)` with all values in one parameter, so that the text of a query is the same for five as for five
//! hundred. Diesel's `eq_any` writes a placeholder for each on SQLite and prepares the statement anew every time: on the
//! way of a push that costs more than the look-ups. PostgreSQL gets an array, as from `eq_any`.

use diesel::expression::{AppearsOnTable, SelectableExpression, ValidGrouping};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Array, BigInt, Bool, Text};
use diesel::sqlite::Sqlite;
use serde::Serialize;

/// Whether a column of text holds one of these.
pub fn among<C>(column: C, these: impl IntoIterator<Item = impl ToString>) -> Among<C, String> {
    Among { column, these: List(these.into_iter().map(|one| one.to_string()).collect()) }
}

/// Whether a column of numbers holds one of these.
pub fn among_numbers<C>(column: C, these: impl IntoIterator<Item = i64>) -> Among<C, i64> {
    Among { column, these: List(these.into_iter().collect()) }
}

/// See [`among`].
#[derive(Debug, Clone)]
pub struct Among<C, T> {
    column: C,
    these: List<T>,
}

#[derive(Debug, Clone)]
struct List<T>(Vec<T>);

/// A JSON array, which SQLite's `json_each` takes apart.
impl<T: Serialize + std::fmt::Debug> ToSql<Text, Sqlite> for List<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(serde_json::to_string(&self.0)?);
        Ok(IsNull::No)
    }
}

impl<C: QueryId, T: 'static> QueryId for Among<C, T> {
    type QueryId = Among<C::QueryId, T>;
    const HAS_STATIC_QUERY_ID: bool = C::HAS_STATIC_QUERY_ID;
}

impl<C: AppearsOnTable<Source>, T, Source> AppearsOnTable<Source> for Among<C, T> where Self: Expression {}

impl<C: SelectableExpression<Source>, T, Source> SelectableExpression<Source> for Among<C, T> where Self: AppearsOnTable<Source> {}

impl<C: ValidGrouping<Clause>, T, Clause> ValidGrouping<Clause> for Among<C, T> {
    type IsAggregate = C::IsAggregate;
}

impl<C: QueryFragment<Sqlite>, T: Serialize + std::fmt::Debug> QueryFragment<Sqlite> for Among<C, T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.column.walk_ast(out.reborrow())?;
        out.push_sql(" in (select value from json_each(");
        out.push_bind_param::<Text, _>(&self.these)?;
        out.push_sql("))");
        Ok(())
    }
}

macro_rules! of {
    ($item:ty, $sql:ty) => {
        impl<C: Expression<SqlType = $sql>> Expression for Among<C, $item> {
            type SqlType = Bool;
        }

        impl<C: QueryFragment<Pg>> QueryFragment<Pg> for Among<C, $item> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
                self.column.walk_ast(out.reborrow())?;
                out.push_sql(" = any(");
                out.push_bind_param::<Array<$sql>, _>(&self.these.0)?;
                out.push_sql(")");
                Ok(())
            }
        }
    };
}

of!(String, Text);
of!(i64, BigInt);

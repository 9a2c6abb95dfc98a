//! A typed document in a text column, written and read as JSON.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use serde::{Serialize, de::DeserializeOwned};
use std::io::Write as _;

/// A value that is stored as a JSON text.
#[derive(Debug, Clone, Default, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Doc<T>(pub T);

impl<T: Serialize + std::fmt::Debug> ToSql<Text, Sqlite> for Doc<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(serde_json::to_string(&self.0)?);
        Ok(IsNull::No)
    }
}

impl<T: Serialize + std::fmt::Debug> ToSql<Text, Pg> for Doc<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&serde_json::to_vec(&self.0)?)?;
        Ok(IsNull::No)
    }
}

impl<T: DeserializeOwned, DB> FromSql<Text, DB> for Doc<T>
where
    DB: Backend,
    *const str: FromSql<Text, DB>,
{
    fn from_sql(raw: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let text = <*const str as FromSql<Text, DB>>::from_sql(raw)?;
        // SAFETY: diesel hands out a pointer into the row, which outlives this call.
        #[expect(unsafe_code, reason = "diesel's own borrowed text type is a raw pointer")]
        let text = unsafe { &*text };
        Ok(Self(serde_json::from_str(text)?))
    }
}

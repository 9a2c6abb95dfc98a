//! Cursor paging: `?limit=&cursor=` in, `{items, next_cursor?}` out. A cursor is the id after which to go on.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Page size when none is asked.
const DEFAULT_LIMIT: i64 = 50;
/// Largest page size.
const LIMIT_MAX: i64 = 500;
/// Longest cursor, in bytes.
const CURSOR_LIMIT: usize = 256;

/// The paging parameters of a list.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// One page of a list. The list ends where `next_cursor` is absent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items, in a stable order.
    pub items: Vec<T>,
    /// Ask for the next page with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl PageQuery {
    /// How many rows to ask of the database: one more than the page, so that its end is known.
    ///
    /// # Errors
    /// 400 when the limit is not 1 to 500, or the cursor can be none of ours.
    pub fn rows(&self) -> Result<i64> {
        if self.after().len() > CURSOR_LIMIT || self.after().chars().any(char::is_control) {
            return Err(Error::invalid("cursor", "invalid", "expected the next_cursor of the page before"));
        }
        Ok(self.size()? + 1)
    }

    fn size(&self) -> Result<i64> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(n) if (1..=LIMIT_MAX).contains(&n) => Ok(n),
            Some(_) => Err(Error::invalid("limit", "out_of_range", format!("must be 1 to {LIMIT_MAX}"))),
        }
    }

    /// The id or key after which this page begins; "" begins at the first.
    pub fn after(&self) -> &str {
        self.cursor.as_deref().unwrap_or("")
    }

    /// Cuts the rows that [`PageQuery::rows`] asked for to a page; `key` names the row a cursor stands for.
    ///
    /// # Errors
    /// 400 when the limit is not 1 to 500.
    pub fn page<R, T>(&self, mut rows: Vec<R>, key: impl Fn(&R) -> String, item: impl Fn(R) -> T) -> Result<Page<T>> {
        let size = usize::try_from(self.size()?).unwrap_or(1);
        let next_cursor = if rows.len() > size { rows.get(size - 1).map(&key) } else { None };
        rows.truncate(size);
        Ok(Page { items: rows.into_iter().map(item).collect(), next_cursor })
    }
}

//! Wire types and handlers of Live Activities: for the app's own back end, and for the phones on which they run.

pub mod mine;
pub mod theirs;

use crate::error::{Error, Result};
use crate::id::ActivityId;

fn activity_id(text: &str) -> Result<ActivityId> {
    text.parse().map_err(|_| Error::not_found("activity"))
}

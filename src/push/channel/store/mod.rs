//! Channels and broadcasts in the database.

mod broadcasts;
mod channels;

pub(super) use broadcasts::{
    add, broadcast, due, expire, known, next_due_ms, of_channel, sending, settle, start, stop, supersede,
};
pub use channels::{Channel, Life};
pub(super) use channels::{by_key, count, find, forget, insert, live, name, page, stamp};

use crate::error::Result;
use crate::on;
use crate::store::Conn;
use crate::store::schema::{broadcasts as broadcast_rows, channels as channel_rows};
use diesel::prelude::*;

/// Forgets broadcasts that ended, and channels that were deleted, before a time; and channels for which Apple was asked
/// and nobody waits any more.
pub(super) fn tidy(conn: &mut Conn, (ended_before_ms, asked_before_ms): (i64, i64)) -> Result<()> {
    on!(conn, c => diesel::delete(broadcast_rows::table.filter(broadcast_rows::ended_ms.lt(ended_before_ms))).execute(c))?;
    on!(conn, c => diesel::delete(channel_rows::table
            .filter(channel_rows::state.eq("deleted").and(channel_rows::updated_ms.lt(ended_before_ms))))
        .execute(c))?;
    on!(conn, c => diesel::delete(channel_rows::table
            .filter(channel_rows::state.eq("creating").and(channel_rows::updated_ms.lt(asked_before_ms))))
        .execute(c))?;
    Ok(())
}

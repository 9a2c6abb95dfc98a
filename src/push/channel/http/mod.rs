//! `/v1/channels`: broadcast channels, and what goes out over them.

pub mod broadcasts;
pub mod channels;

use crate::error::{Error, Result};
use crate::id::ChannelId;

fn channel_id(path: &str) -> Result<ChannelId> {
    path.parse().map_err(|_| Error::not_found("channel"))
}

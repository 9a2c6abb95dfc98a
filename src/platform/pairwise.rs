//! The name by which one partner knows one user: another partner's name for them, or their id, cannot be told from it.

use super::MasterKey;
use crate::id::{AppId, PartnerId, UserId};

/// `sub_` and 32 hex digits: a keyed hash under the master key, the same each time for the same partner and user.
pub fn pairwise(key: &MasterKey, app: AppId, partner: PartnerId, user: UserId) -> String {
    let hash = key.derive("pairwise subject", format!("{app}:{partner}:{user}").as_bytes());
    hash.iter().take(16).fold(String::from("sub_"), |text, byte| text + &format!("{byte:02x}"))
}

//! Who gets which slots of a lane: what is said to one person goes before what is said to many, and neither starves. Pure.
//!
//! Three walls stand between a large campaign and somebody's moment. Lanes are an app's own, so connections, streams and
//! breakers are never shared between apps. Within a lane, what is said to a large audience ([`Queue`](super::route::Queue)
//! with `bulk`) leaves a share of the slots free, and one connection of several where anything was said to one person
//! lately: a moment's push goes out over that, from its own transaction, and not behind two thousand others in the same
//! pipe. What had to wait is claimed first in every look, and each look makes one claim of bulk (two looks are made at
//! once). And the database's one writer takes claims of bulk and the ends of attempts when nobody else waits for it, or one
//! of them after every few transactions of others.
//!
//! The same share is kept for bulk while it waits, so that it moves on however many moments there are.

use crate::outbound::{Room, Way};

/// One in so many slots is a share: at 1,000 streams and 40 ms a share carries 775 moments per second, and a campaign is
/// slower by 3 %.
const PARTS: usize = 32;

/// Who asks, and how it stands between the two.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Whether it is what is said to a large audience that asks.
    pub bulk: bool,
    /// Whether anything was said to one person lately.
    pub singles: bool,
    /// How much of bulk is in flight.
    pub bulk_in_flight: usize,
    /// Whether more of it waits.
    pub bulk_waits: bool,
}

impl Turn {
    /// How many slots it may have at most.
    pub fn of(self, room: Room) -> usize {
        let share = share(room);
        let of_bulk = share.saturating_sub(self.bulk_in_flight).min(room.free);
        match (self.bulk, self.bulk_waits) {
            (true, _) => room.free.saturating_sub(share).max(of_bulk),
            (false, true) => room.free - of_bulk,
            (false, false) => room.free,
        }
    }
    /// Over which connections it has them.
    pub fn way(self, room: Room) -> Way {
        if !self.bulk {
            Way::Emptiest
        } else if !self.singles || self.bulk_in_flight < share(room) {
            Way::Everywhere
        } else {
            Way::Broad
        }
    }
}

/// The slots that each side leaves to the other.
fn share(room: Room) -> usize {
    // Of one slot there is no share: who comes first has it.
    (room.all / PARTS).max(1).min(room.all.saturating_sub(1))
}

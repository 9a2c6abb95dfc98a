//! Who gets which slots of a lane: what is said to one person goes before what is said to many, and neither starves. Pure.
//!
//! Three walls stand between a large campaign and somebody's moment. Lanes are an app's own, so connections, streams and
//! breakers are never shared between apps. Within a lane, what is said to a large audience ([`Queue`](super::route::Queue)
//! with `bulk`) leaves a share of the slots free, in which a moment's push goes out from its own transaction; what had to
//! wait is claimed first in every look. And the database's one writer takes its jobs in the order in which they came: a
//! claim of bulk is one short transaction, and a look makes a few of them before it looks for what is not bulk again.
//!
//! The same share is kept for bulk while it waits, so that it moves on however many moments there are.

use crate::outbound::Room;

/// One in so many slots is a share: at 1,000 streams and 40 ms a share carries 775 moments per second, and a campaign is
/// slower by 3 %.
const PARTS: usize = 32;

/// Who asks, and how it stands between the two.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Whether it is what is said to a large audience that asks.
    pub bulk: bool,
    /// How much of that is in flight.
    pub bulk_in_flight: usize,
    /// Whether more of it waits.
    pub bulk_waits: bool,
}

impl Turn {
    /// How many slots it may have at most.
    pub fn of(self, room: Room) -> usize {
        // Of one slot there is no share: who comes first has it.
        let share = (room.all / PARTS).max(1).min(room.all.saturating_sub(1));
        let of_bulk = share.saturating_sub(self.bulk_in_flight).min(room.free);
        match (self.bulk, self.bulk_waits) {
            (true, _) => room.free.saturating_sub(share).max(of_bulk),
            (false, true) => room.free - of_bulk,
            (false, false) => room.free,
        }
    }
}

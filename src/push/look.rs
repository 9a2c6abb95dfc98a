//! What the dispatcher sees when it looks at the outbox.

use super::route::{Queue, Route};
use super::store::Waiting;
use crate::id::AppId;
use std::collections::HashSet;

/// What a look at the outbox found.
#[derive(Default)]
pub(super) struct Look {
    /// Whether something was claimed or ended: there may be more.
    pub(super) progress: bool,
    /// Whether something is due and no slot is there, with none in use either.
    pub(super) blocked: bool,
    /// When the next message is due, UTC milliseconds.
    pub(super) next_due_ms: Option<i64>,
    /// How many claims were made.
    pub(super) claims: usize,
}

/// A queue of which something is due.
pub(super) struct Wish {
    pub(super) app: AppId,
    pub(super) queue: Queue,
    /// Whether bulk is due behind it on the same lanes.
    pub(super) before_bulk: bool,
}

impl Look {
    pub(super) fn due(&mut self, due_ms: i64) {
        self.next_due_ms = Some(self.next_due_ms.map_or(due_ms, |known| known.min(due_ms)));
    }

    /// The queues of which something is due, those of bulk apart; notes when something of the others will be.
    pub(super) fn sort(&mut self, mut waiting: Vec<Waiting>, now_ms: i64) -> (Vec<Wish>, Vec<Wish>) {
        let mut due = Vec::new();
        // The longest due first: queues of one lane take each other's slots.
        waiting.sort_by_key(|waiting| waiting.due_ms);
        for Waiting { app_id, route, due_ms } in waiting {
            if due_ms > now_ms {
                self.due(due_ms);
            } else if let Some(queue) = Queue::parse(&route) {
                due.push((app_id, queue));
            } else {
                tracing::error!(route, "the outbox holds an unknown route");
            }
        }
        let bulk: HashSet<(AppId, Route)> =
            due.iter().filter(|(_, queue)| queue.bulk).map(|(app, queue)| (*app, queue.route.clone())).collect();
        let wish = |(app, queue): (AppId, Queue)| {
            let before_bulk = !queue.bulk && bulk.contains(&(app, queue.route.clone()));
            Wish { app, queue, before_bulk }
        };
        due.into_iter().map(wish).partition(|wish| !wish.queue.bulk)
    }
}

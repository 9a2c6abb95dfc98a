//! What the dispatcher sees when it looks at the outbox.

/// What a look at the outbox found.
#[derive(Default)]
pub(super) struct Look {
    /// Whether something was claimed or ended: there may be more.
    pub(super) progress: bool,
    /// Whether something is due and no slot is there, with none in use either.
    pub(super) blocked: bool,
    /// When the next message is due, UTC milliseconds.
    pub(super) next_due_ms: Option<i64>,
}

impl Look {
    pub(super) fn due(&mut self, due_ms: i64) {
        self.next_due_ms = Some(self.next_due_ms.map_or(due_ms, |known| known.min(due_ms)));
    }
}

//! Every push that arrived, append-only, in memory and if wanted in a file.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::push::Gateway;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One push that arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// 1 for the first.
    pub n: u64,
    /// Arrival by the stand-in's clock, UTC milliseconds.
    pub at_ms: i64,
    /// Arrival by the machine's clock, UTC milliseconds.
    pub real_ms: i64,
    /// Whose.
    pub gateway: Gateway,
    /// To which token.
    pub token: String,
    /// `apns-id`; for FCM the message id in `data`.
    pub push_id: Option<String>,
    /// `apns-collapse-id` or `collapseKey`.
    pub collapse_id: Option<String>,
    /// Until when the gateway may keep it, UTC milliseconds; the arrival itself for "now or never".
    pub keep_until_ms: Option<i64>,
    /// The payload's own fields, as far as they are there.
    pub kairos: Option<Stamped>,
    /// What the phone would show.
    pub text: Option<String>,
    /// `200`, `410 Unregistered`, `cut`, `refused`, `goaway`, …
    pub answer: String,
    /// Whether the phone gets it: answered with 200, or taken before the connection was lost.
    pub delivered: bool,
}

/// The payload's own fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// The message.
    pub message_id: String,
    /// The decision.
    pub decision_id: String,
    /// The campaign.
    pub campaign_id: String,
    /// The deadline, UTC milliseconds.
    pub deadline_ms: i64,
}

pub(super) struct Ledger {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    rows: Vec<Row>,
    file: Option<File>,
}

impl Ledger {
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|e| Error::broken(format!("cannot write the ledger {}: {e}", path.display())))
        };
        let file = path.map(open).transpose()?;
        Ok(Self { clock: Clock::system(), state: Mutex::new(State { rows: Vec::new(), file }) })
    }

    /// Appends a row; its number and real time are filled in here.
    pub(super) fn append(&self, mut row: Row) {
        row.real_ms = self.clock.now_ms();
        let mut state = self.state();
        row.n = state.rows.len() as u64 + 1;
        if let Some(file) = &mut state.file
            && let Ok(mut line) = serde_json::to_vec(&row)
        {
            line.push(b'\n');
            // One write per row: a line is there whole once it is there, also after a kill.
            if let Err(error) = file.write_all(&line) {
                tracing::error!(%error, "the stand-in's ledger cannot be written");
            }
        }
        state.rows.push(row);
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.state().rows.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.state().rows.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

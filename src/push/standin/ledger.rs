//! Every push that arrived, append-only, in memory and if wanted in a file.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::push::Gateway;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
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
    /// To which token; for a broadcast over which channel.
    pub token: String,
    /// `apns-id`; for a broadcast `apns-request-id`; for FCM the message id in `data`; of a browser the one that it has read.
    pub push_id: Option<String>,
    /// `apns-collapse-id`, `collapseKey` or `Topic`.
    pub collapse_id: Option<String>,
    /// Until when the gateway may keep it, UTC milliseconds; the arrival itself for "now or never".
    pub keep_until_ms: Option<i64>,
    /// The payload's own fields, as far as they are there.
    pub kairos: Option<Stamped>,
    /// What the phone would show.
    pub text: Option<String>,
    /// Words that only the app on the phone can read: base64url of a body as RFC 8291 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// What a Live Activity would show, or what Google would hand to iPhones: `aps` as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aps: Option<serde_json::Value>,
    /// `apns-priority` of a Live Activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
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
    /// The message that the phone is to take back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<String>,
}

/// Which rows; what is left out is any.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) gateway: Option<Gateway>,
    pub(super) token: Option<String>,
    pub(super) push_id: Option<String>,
    /// How the answer begins: `200`, `410`, `400 Bad`, `cut`.
    pub(super) answer: Option<String>,
    pub(super) delivered: Option<bool>,
    /// Only rows after this number.
    pub(super) after: Option<u64>,
    /// At most so many.
    pub(super) limit: Option<usize>,
}

impl Filter {
    fn takes(&self, row: &Row) -> bool {
        self.gateway.is_none_or(|gateway| gateway == row.gateway)
            && self.token.as_ref().is_none_or(|token| *token == row.token)
            && self.push_id.as_ref().is_none_or(|id| Some(id) == row.push_id.as_ref())
            && self.answer.as_ref().is_none_or(|answer| row.answer.starts_with(answer.as_str()))
            && self.delivered.is_none_or(|delivered| delivered == row.delivered)
            && self.after.is_none_or(|after| row.n > after)
    }
}

/// The ledger in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Pushes that arrived.
    pub arrived: usize,
    /// Those that a phone gets.
    pub delivered: usize,
    /// How many different phones get one.
    pub tokens: usize,
    /// Pushes that a phone gets though it has got one of the same id before.
    pub repeated: usize,
    /// How often each gateway answered what: `apns 200`, `fcm 404 UNREGISTERED`.
    pub answers: BTreeMap<String, usize>,
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

    pub(super) fn find(&self, filter: &Filter) -> Vec<Row> {
        let state = self.state();
        state.rows.iter().filter(|row| filter.takes(row)).take(filter.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    pub(super) fn summary(&self) -> Summary {
        let state = self.state();
        let mut summary = Summary { arrived: state.rows.len(), ..Summary::default() };
        let (mut tokens, mut ids) = (HashSet::new(), HashSet::new());
        for row in &state.rows {
            *summary.answers.entry(format!("{} {}", row.gateway.word(), row.answer)).or_default() += 1;
            if row.delivered {
                summary.delivered += 1;
                tokens.insert(row.token.as_str());
                let new = row.push_id.as_deref().is_none_or(|id| ids.insert((row.token.as_str(), id)));
                summary.repeated += usize::from(!new);
            }
        }
        summary.tokens = tokens.len();
        summary
    }

    pub(super) fn len(&self) -> usize {
        self.state().rows.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

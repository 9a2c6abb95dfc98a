//! The way in: batches of concurrent phones share one transaction and are answered after it is on disk.

use super::{Known, Said, Speaker, Status, judge};
use crate::error::Result;
use crate::id::{AppId, MessageId};
use crate::moment::store::{self, ReceiptRow};
use crate::platform::Platform;
use crate::store::{Conn, GroupCommit, Limits};
use crate::webhook::{self, MessageResult};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What may wait, and what shares a transaction; weights are receipts.
const LIMITS: Limits = Limits { queue_calls: 4_096, queue_weight: 65_536, batch_calls: 256, batch_weight: 2_000 };

/// Receipts of one call.
struct Batch {
    speaker: Speaker,
    said: Vec<Said>,
}

/// What became of one receipt, and all that is known of its message by then.
#[derive(Debug, Clone)]
pub struct Heard {
    /// What became of it.
    pub status: Status,
    /// The receipts of the message, the earliest first; none where it is not the speaker's.
    pub(in crate::moment) receipts: Vec<ReceiptRow>,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Receipts(GroupCommit<Arc<Batch>, Vec<Heard>>);

impl Receipts {
    /// Opens it. Call it inside a tokio runtime.
    pub fn open(platform: &Platform) -> Self {
        let clock = platform.clock.clone();
        let apply = move |conn: &mut Conn, batches: &[Arc<Batch>]| apply(conn, batches, clock.now_ms());
        Self(GroupCommit::start(platform.store.clone(), LIMITS, apply))
    }

    /// Takes receipts; the answer comes after the commit, in their order.
    ///
    /// # Errors
    /// `Busy` when nothing was taken: the phone sends the same again.
    pub async fn take(&self, speaker: Speaker, said: Vec<Said>) -> Result<Vec<Heard>> {
        if said.is_empty() {
            return Ok(Vec::new());
        }
        let weight = u32::try_from(said.len()).unwrap_or(u32::MAX);
        self.0.submit(Arc::new(Batch { speaker, said }), weight).await
    }
}

/// The receipts of an app, as they stand while a batch is judged.
#[derive(Default)]
struct Ledger {
    known: HashMap<MessageId, Known>,
    there: HashMap<MessageId, Vec<ReceiptRow>>,
    new: Vec<ReceiptRow>,
    told: Vec<MessageResult>,
}

fn apply(conn: &mut Conn, batches: &[Arc<Batch>], now_ms: i64) -> Result<Vec<Vec<Heard>>> {
    let apps: BTreeSet<AppId> = batches.iter().map(|b| b.speaker.app_id).collect();
    // Nobody's messages are forgotten between the look and the write.
    apps.iter().try_for_each(|app| store::lock_receipts(conn, *app))?;
    let mut ledgers: HashMap<AppId, Ledger> = HashMap::new();
    for app in apps {
        let of_app = batches.iter().filter(|b| b.speaker.app_id == app);
        let ids: BTreeSet<MessageId> = of_app.flat_map(|b| &b.said).map(|said| said.message_id).collect();
        let ids: Vec<MessageId> = ids.into_iter().collect();
        let known = store::receivers(conn, app, &ids)?;
        let mut there: HashMap<MessageId, Vec<ReceiptRow>> = HashMap::new();
        for row in store::receipts(conn, app, &ids)? {
            there.entry(row.message_id).or_default().push(row);
        }
        ledgers.insert(app, Ledger { known, there, ..Ledger::default() });
    }
    let mut heard = Vec::with_capacity(batches.len());
    for batch in batches {
        let Some(ledger) = ledgers.get_mut(&batch.speaker.app_id) else { continue };
        heard.push(batch.said.iter().map(|said| ledger.hear(&batch.speaker, said, now_ms)).collect());
    }
    for (app, ledger) in ledgers {
        store::insert_receipts(conn, &ledger.new)?;
        webhook::tell_results(conn, app, (&ledger.told, now_ms))?;
    }
    Ok(heard)
}

impl Ledger {
    fn hear(&mut self, speaker: &Speaker, said: &Said, now_ms: i64) -> Heard {
        let known = self.known.get(&said.message_id);
        let at_ms = match judge(speaker, said, known, now_ms) {
            Ok(at_ms) => at_ms,
            Err(status) => return Heard { status, receipts: Vec::new() },
        };
        let receipts = self.there.entry(said.message_id).or_default();
        let twice = receipts.iter().any(|row| row.kind == said.kind.name());
        if !twice {
            let (kind, action) = (said.kind.name().to_owned(), said.action.clone());
            let row =
                ReceiptRow { app_id: speaker.app_id, message_id: said.message_id, kind, at_ms, received_ms: now_ms, action };
            receipts.push(row.clone());
            receipts.sort_by(|a, b| (a.at_ms, &a.kind).cmp(&(b.at_ms, &b.kind)));
            self.told.extend(known.map(|of| MessageResult {
                message_id: said.message_id,
                user_id: of.user_id,
                kind: said.kind.name(),
                at_ms,
                reason: said.action.clone(),
            }));
            self.new.push(row);
        }
        Heard { status: if twice { Status::Duplicate } else { Status::Accepted }, receipts: receipts.clone() }
    }
}

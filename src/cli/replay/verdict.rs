//! The judge of a replay: the stand-ins' own books against the database, and against what the scene says beforehand.

use super::laps::{self, Call, Laps};
use super::scene;
use super::stage::seconds;
use super::story::{Story, text};
use super::table::Table;
use crate::push::standin::Row;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::ExitCode;
use std::time::Duration;

/// How the server answered for the events that were sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// How many of each status.
    statuses: BTreeMap<String, usize>,
    /// The call with which each event came, by the event's id.
    pub(crate) calls: HashMap<String, Call>,
}

impl Sent {
    /// Counts the answer for one event.
    pub(crate) fn count(&mut self, result: &Value, call: Call) {
        *self.statuses.entry(text(result, "/status").to_owned()).or_insert(0) += 1;
        self.calls.insert(text(result, "/event_id").to_owned(), call);
    }

    /// All of them.
    pub(crate) fn all(&self) -> usize {
        self.statuses.values().sum()
    }

    fn of(&self, status: &str) -> usize {
        self.statuses.get(status).copied().unwrap_or(0)
    }
}

/// What came of a replay.
pub(crate) struct Verdict {
    /// What the server says.
    pub(crate) story: Story,
    /// What it said of each event when it was sent.
    pub(crate) sent: Sent,
    /// Events in the database by what became of them: (sent by us or derived, disposition) → how many.
    pub(crate) tally: BTreeMap<(bool, String), i64>,
    /// What the gateways say.
    pub(crate) ledger: Vec<Row>,
    /// How long each hop took by the machine's clock.
    pub(crate) laps: Laps,
    /// How long the events took.
    pub(crate) took: Duration,
}

impl Verdict {
    /// Everything that does not agree, in words; empty when all is well.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.judge_events(&mut faults);
        self.judge_pushes(&mut faults);
        self.judge_passengers(&mut faults);
        faults
    }

    /// Every event sent has exactly one row, and every row has come to an end.
    fn judge_events(&self, faults: &mut Vec<String>) {
        let stored: i64 = self.tally.iter().filter(|((sent, _), _)| *sent).map(|(_, n)| n).sum();
        let accepted = self.sent.of("accepted");
        if i64::try_from(accepted).ok() != Some(stored) {
            faults.push(format!("{accepted} events were accepted, but {stored} are stored"));
        }
        if self.sent.all() != accepted {
            faults.push(format!("{} events were not accepted", self.sent.all() - accepted));
        }
        let waiting: i64 = self.tally.iter().filter(|((_, disposition), _)| disposition.is_empty()).map(|(_, n)| n).sum();
        if waiting != 0 {
            faults.push(format!("{waiting} events have no disposition"));
        }
        let failed: i64 = self.tally.iter().filter(|((_, disposition), _)| disposition == "failed").map(|(_, n)| n).sum();
        if failed != 0 {
            faults.push(format!("judging {failed} events failed"));
        }
    }

    /// The gateways' books and the database name the same messages, each once.
    fn judge_pushes(&self, faults: &mut Vec<String>) {
        let mut booked = HashMap::new();
        for row in self.ledger.iter().filter(|row| row.delivered) {
            *booked.entry(row.kairos.as_ref().map(|k| k.message_id.clone()).unwrap_or_default()).or_insert(0) += 1;
        }
        for (id, n) in &booked {
            if *n > 1 {
                faults.push(format!("the gateways got {id} {n} times"));
            }
            match self.story.messages.get(id.as_str()) {
                Some(message) if text(message, "/state") == "accepted" => {}
                Some(message) => {
                    faults.push(format!("the gateways accepted {id}, the database says {}", text(message, "/state")))
                }
                None => faults.push(format!("the gateways got {id}, which the database does not know")),
            }
        }
        for (id, message) in &self.story.messages {
            match text(message, "/state") {
                "accepted" if !booked.contains_key(id) => {
                    faults.push(format!("the database says {id} was accepted, the gateways do not know it"))
                }
                "queued" | "sending" | "retry_at" => faults.push(format!("{id} is still waiting")),
                _ => {}
            }
        }
    }

    /// Exactly the consenting passengers got exactly one push on each of their phones, in every landing of theirs.
    fn judge_passengers(&self, faults: &mut Vec<String>) {
        for decision in &self.story.decisions {
            let passenger = self.story.passenger(decision);
            let Some(persona) = scene::persona_of(passenger) else { continue };
            let due = if persona.must_ring() { persona.phones.len() } else { 0 };
            let ids = Story::message_ids(decision);
            let devices: HashSet<&str> =
                ids.iter().filter_map(|id| self.story.messages.get(*id)).map(|m| text(m, "/device_id")).collect();
            if ids.len() != due || devices.len() != due {
                faults.push(format!(
                    "{passenger} ({}) got {} pushes on {} phones; due: {due}",
                    persona.label,
                    ids.len(),
                    devices.len()
                ));
            }
        }
    }

    /// The story, the totals, the verdict.
    pub(crate) fn print(&self) -> String {
        let head = "event → moment → gates → choice → gateway answer → opened";
        let mut out = format!("\n{head}\n{}\n\n{}\n", laps::MEANING, self.story.table(&self.laps));
        let mut events = Table::new(&["events", "sent", "derived"]);
        let names: std::collections::BTreeSet<&String> = self.tally.keys().map(|(_, name)| name).collect();
        for name in names {
            let of = |sent| self.tally.get(&(sent, name.clone())).copied().unwrap_or(0).to_string();
            events.row(vec![name.clone(), of(true), of(false)]);
        }
        out.push_str(&events.render());
        out.push('\n');
        out.push_str(&self.story.totals());
        let rate = self.sent.all() as f64 / self.took.as_secs_f64();
        out.push_str(&format!("{} events in {} ({rate:.0}/s).\n", self.sent.all(), seconds(self.took)));
        let faults = self.faults();
        if faults.is_empty() {
            let pushes = self.ledger.iter().filter(|row| row.delivered).count();
            out.push_str(&format!(
                "The gateways' own books agree with the database: {pushes} pushes, each once, each to a phone it was due to.\n"
            ));
        } else {
            out.push_str("The books do not agree:\n");
            faults.iter().take(20).for_each(|fault| out.push_str(&format!("  - {fault}\n")));
        }
        out
    }

    /// The verdict for programs.
    pub(crate) fn json(&self) -> Value {
        let tally: Vec<Value> =
            self.tally.iter().map(|((sent, name), n)| json!({ "derived": !sent, "disposition": name, "count": n })).collect();
        let mut landings: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
        for decision in &self.story.decisions {
            landings.entry(text(decision, "/moment/context/place/key")).or_default().insert(text(decision, "/event_id"));
        }
        let landings: BTreeMap<&str, usize> = landings.into_iter().map(|(place, events)| (place, events.len())).collect();
        json!({
            "events": self.sent.statuses,
            "dispositions": tally,
            "decisions": self.story.decisions.len(),
            "landings": landings,
            "messages": self.story.messages.len(),
            "pushes": self.ledger.iter().filter(|row| row.delivered).count(),
            "hops_ms": self.laps.summary(&self.story.decisions),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "faults": self.faults(),
        })
    }

    /// Success only when everything agrees.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

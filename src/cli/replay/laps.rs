//! How long each hop took by the machine's own clock, whatever the speed of the recording.

use super::client::Client;
use super::story::{Story, text};
use crate::error::Result;
use crate::id::{DecisionId, MessageId};
use crate::platform::stopwatch::{Hop, Stopwatch};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// The hops, as the story's table names them; each is counted from the one before.
pub(crate) const HOPS: [&str; 5] = ["taken ms", "decided ms", "handed over ms", "answered ms", "opened ms"];
/// What the numbers under them are.
pub(crate) const MEANING: &str = "\
ms are this machine's own time, at any speed of the recording, each from the hop before: the event's call until its 202,\n\
then until the decision is on disk, until the message is handed over to its gateway, until the gateway's answer is read;\n\
opened is the tap until its receipt is on disk. Of several phones the slowest counts.";

/// One call to the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// When it was begun.
    pub(crate) began: Instant,
    /// When its answer was there.
    pub(crate) answered: Instant,
}

impl Call {
    /// How long it took.
    pub(crate) fn took(self) -> Duration {
        self.answered.saturating_duration_since(self.began)
    }
}

/// Everything that was timed.
pub(crate) struct Laps {
    /// What the server's own stopwatch saw.
    stopwatch: Stopwatch,
    /// The call with which each event came, by the event's id.
    events: HashMap<String, Call>,
    /// The call that said that a message was opened, by the message's id.
    taps: HashMap<String, Call>,
    /// The event that was sent, by the id of what was derived from it.
    causes: HashMap<String, String>,
}

impl Laps {
    /// Puts together what was timed, and asks the server which event each decision goes back to.
    ///
    /// # Errors
    /// When the server is away.
    pub(crate) async fn read(
        client: &Client,
        story: &Story,
        (stopwatch, events, taps): (Stopwatch, HashMap<String, Call>, HashMap<String, Call>),
    ) -> Result<Self> {
        let mut causes = HashMap::new();
        let ids: BTreeSet<&str> = story.decisions.iter().map(|decision| text(decision, "/event_id")).collect();
        for id in ids.into_iter().filter(|id| !id.is_empty() && !events.contains_key(*id)) {
            let event = client.must(Method::GET, &format!("/v1/events/{id}"), None).await?;
            causes.insert(id.to_owned(), text(&event, "/cause_id").to_owned());
        }
        Ok(Self { stopwatch, events, taps, causes })
    }

    /// How long each of the [`HOPS`] of a decision took, as far as it came.
    pub(crate) fn of(&self, decision: &Value) -> [Option<Duration>; 5] {
        let event_id = text(decision, "/event_id");
        let call = self.events.get(self.causes.get(event_id).map_or(event_id, String::as_str)).copied();
        let decided = text(decision, "/id").parse().ok().and_then(|id: DecisionId| self.stopwatch.at(Hop::Decided, id.uuid()));
        let since = |later: Instant, earlier: Instant| later.saturating_duration_since(earlier);
        let (mut handed_over, mut answered, mut opened) = (None, None, None);
        for id in Story::message_ids(decision) {
            opened = opened.max(self.taps.get(id).map(|tap| tap.took()));
            let Ok(message) = id.parse::<MessageId>() else { continue };
            let at = |hop| self.stopwatch.at(hop, message.uuid());
            let (left, answer) = (at(Hop::HandedOver), at(Hop::Answered));
            handed_over = handed_over.max(left.zip(decided).map(|(left, decided)| since(left, decided)));
            answered = answered.max(answer.zip(left).map(|(answer, left)| since(answer, left)));
        }
        let taken = call.map(Call::took);
        let decided = decided.zip(call).map(|(decided, call)| since(decided, call.answered));
        [taken, decided, handed_over, answered, opened]
    }

    /// Median and worst of each hop over these decisions, in milliseconds.
    pub(crate) fn summary(&self, decisions: &[Value]) -> Value {
        let all: Vec<_> = decisions.iter().map(|decision| self.of(decision)).collect();
        let hops = HOPS.iter().enumerate().map(|(n, name)| {
            let mut took: Vec<f64> = all.iter().filter_map(|hops| hops[n]).map(ms).collect();
            took.sort_by(f64::total_cmp);
            let figures = json!({ "median": took.get(took.len() / 2), "worst": took.last(), "count": took.len() });
            (name.trim_end_matches(" ms").replace(' ', "_"), figures)
        });
        Value::Object(hops.collect())
    }
}

/// Milliseconds with their fraction.
pub(crate) fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

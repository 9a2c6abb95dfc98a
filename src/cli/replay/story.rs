//! What came of a replay, read back through the API: the story line by line, the totals, the refusals by reason.

use super::client::Client;
use super::laps::{HOPS, Laps, ms};
use super::scene;
use super::table::Table;
use crate::error::{Error, Result};
use http::Method;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// How many rows of the story are printed before the rest is summed up.
const ROWS_MAX: usize = 40;

/// Everything the server says about what happened.
pub(crate) struct Story {
    /// All decisions, oldest first.
    pub(crate) decisions: Vec<Value>,
    /// All messages by id.
    pub(crate) messages: HashMap<String, Value>,
    /// Users by id.
    pub(crate) users: HashMap<String, Value>,
    /// Offers' names by id.
    pub(crate) offers: HashMap<String, String>,
}

impl Story {
    /// Reads it all back, page by page.
    ///
    /// # Errors
    /// When the server is away or answers with anything but what its contract says.
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let by_id = |items: Vec<Value>| items.into_iter().map(|v| (text(&v, "/id").to_owned(), v)).collect::<HashMap<_, _>>();
        let mut decisions = all(client, "/v1/decisions").await?;
        decisions.sort_by_key(|d| text(d, "/id").to_owned());
        let offers = all(client, "/v1/offers").await?;
        Ok(Self {
            decisions,
            messages: by_id(all(client, "/v1/messages").await?),
            users: by_id(all(client, "/v1/users").await?),
            offers: offers.iter().map(|o| (text(o, "/id").to_owned(), text(o, "/name").to_owned())).collect(),
        })
    }

    /// Whether a message has not come to its end yet.
    pub(crate) fn has_waiting(&self) -> bool {
        self.messages.values().any(|m| matches!(text(m, "/state"), "queued" | "sending" | "retry_at"))
    }

    /// The external id of a decision's user.
    pub(crate) fn passenger<'a>(&'a self, decision: &Value) -> &'a str {
        self.users.get(text(decision, "/user_id")).map_or("", |user| text(user, "/external_id"))
    }

    /// The ids of all messages of a decision.
    pub(crate) fn message_ids(decision: &Value) -> Vec<&str> {
        let choices = decision["choices"].as_array().map_or(&[][..], Vec::as_slice);
        choices
            .iter()
            .flat_map(|c| c["message_ids"].as_array().map_or(&[][..], Vec::as_slice))
            .filter_map(Value::as_str)
            .collect()
    }

    /// `event → moment → gates → choice → gateway answer → opened`, a row per decision, with the machine's ms per hop.
    pub(crate) fn table(&self, laps: &Laps) -> String {
        let head = ["event", "at", "moment", "passenger", "gates", "choice", "gateway", "opened"];
        let mut table = Table::new(&[&head[..], &HOPS].concat());
        for decision in self.decisions.iter().take(ROWS_MAX) {
            table.row(self.row(decision, laps));
        }
        if table.is_empty() {
            return "  No moment opened.\n".to_owned();
        }
        let mut out = table.render();
        if let Some(more) = self.decisions.len().checked_sub(ROWS_MAX).filter(|n| *n > 0) {
            out.push_str(&format!("  … and {more} more like these.\n"));
        }
        out
    }

    fn row(&self, decision: &Value, laps: &Laps) -> Vec<String> {
        let passenger = self.passenger(decision);
        let persona = scene::persona_of(passenger).map_or("", |p| p.label);
        let ids = Self::message_ids(decision);
        let messages: Vec<&Value> = ids.iter().filter_map(|id| self.messages.get(*id)).collect();
        let answers: Vec<String> = messages.iter().map(|m| format!("{} {}", gateway(m), text(m, "/state"))).collect();
        let opened = messages
            .iter()
            .filter(|m| m["receipts"].as_array().is_some_and(|r| r.iter().any(|r| text(r, "/kind") == "opened")))
            .count();
        let choice = decision["choices"].as_array().and_then(|c| c.first()).map(|c| self.offer(text(c, "/offer_id")));
        let candidates = decision["candidates"].as_array().map_or(0, Vec::len);
        let passed = decision["candidates"].as_array().map_or(0, |c| c.iter().filter(|c| c["score"].is_number()).count());
        let hops = laps.of(decision).map(|hop| hop.map_or_else(String::new, |took| format!("{:.1}", ms(took))));
        let mut cells = vec![
            text(decision, "/moment/opened_at").get(11..19).unwrap_or("").to_owned(),
            text(decision, "/moment/context/place/name").to_owned(),
            text(decision, "/moment/kind").to_owned(),
            format!("{} ({persona})", passenger),
            format!("{passed} of {candidates} pass"),
            choice.unwrap_or_else(|| format!("silence: {}", text(decision, "/reason"))),
            answers.join(", "),
            if ids.is_empty() { String::new() } else { format!("{opened} of {}", ids.len()) },
        ];
        cells.extend(hops);
        cells
    }

    fn offer(&self, id: &str) -> String {
        self.offers.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    /// How many candidates stopped at which gate and why; and how many decisions, messages had which end.
    pub(crate) fn totals(&self) -> String {
        let mut outcomes = BTreeMap::new();
        let mut refusals = BTreeMap::new();
        let mut chosen = BTreeMap::new();
        for decision in &self.decisions {
            let outcome = [text(decision, "/outcome"), text(decision, "/reason")].join(" ").trim().to_owned();
            *outcomes.entry(outcome).or_insert(0_usize) += 1;
            for candidate in decision["candidates"].as_array().map_or(&[][..], Vec::as_slice) {
                let gates = candidate["gates"].as_array().map_or(&[][..], Vec::as_slice);
                if let Some(gate) = gates.iter().find(|g| text(g, "/verdict") == "refused") {
                    *refusals.entry(format!("{}: {}", text(gate, "/gate"), text(gate, "/reason"))).or_insert(0) += 1;
                }
            }
            for choice in decision["choices"].as_array().map_or(&[][..], Vec::as_slice) {
                *chosen.entry(self.offer(text(choice, "/offer_id"))).or_insert(0) += 1;
            }
        }
        let mut states = BTreeMap::new();
        for message in self.messages.values() {
            *states.entry(format!("{} {}", gateway(message), text(message, "/state"))).or_insert(0) += 1;
        }
        let mut out = String::new();
        for (title, counts) in
            [("decisions", outcomes), ("offers chosen", chosen), ("messages", states), ("refusals by gate and reason", refusals)]
        {
            let mut table = Table::new(&[title, "count"]);
            counts.into_iter().for_each(|(name, n)| table.row(vec![name, n.to_string()]));
            if !table.is_empty() {
                out.push_str(&table.render());
                out.push('\n');
            }
        }
        out
    }
}

fn gateway(message: &Value) -> &'static str {
    if text(message, "/platform") == "ios" { "APNs" } else { "FCM" }
}

/// The text at a JSON pointer, "" when there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// Every item of a list.
///
/// # Errors
/// When the server is away or answers with anything but a list.
pub(crate) async fn all(client: &Client, path: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = client.must(Method::GET, &format!("{path}?limit=500{cursor}"), None).await?;
        match page["items"].take() {
            Value::Array(more) => items.extend(more),
            _ => return Err(Error::broken(format!("GET {path} did not answer a list"))),
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

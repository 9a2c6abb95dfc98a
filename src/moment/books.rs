//! The books: what must add up at every instant, and every decision made again from what it was made from.

use super::decide;
use super::decision::{Choice, Decision, Outcome, Reason, Tried};
use super::input::Input;
use super::store::{self, MessageFilter};
use super::terms::Terms;
use crate::error::{Error, Result};
use crate::id::{AppId, DecisionId};
use crate::people::device::Platform;
use crate::push::content::Badge;
use crate::push::{self, Gateway, Stamp};
use crate::store::Conn;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an app's decisions and messages add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Books {
    /// Live decisions by outcome.
    pub decisions: BTreeMap<String, i64>,
    /// Decisions of tests by outcome.
    pub decisions_of_tests: BTreeMap<String, i64>,
    /// Messages by state.
    pub messages: BTreeMap<String, i64>,
    /// What does not add up, in words; empty when all is well.
    pub faults: Vec<String>,
}

/// Counts an app's decisions and messages, and looks for what does not add up: a moment without its decision, a silence
/// without a reason, an outcome that its choices do not bear out, a choice without its messages.
///
/// # Errors
/// What the database says.
pub fn books(conn: &mut Conn, app: AppId) -> Result<Books> {
    Ok(Books {
        decisions: store::count_decisions(conn, app, false)?.into_iter().collect(),
        decisions_of_tests: store::count_decisions(conn, app, true)?.into_iter().collect(),
        messages: store::count_messages(conn, app)?.into_iter().collect(),
        faults: store::faults(conn, app)?,
    })
}

/// Makes a stored decision again from its stored input, and its second looks too. The answer is what differs, in words.
///
/// # Errors
/// 404; when the input or a spec that it names is not there.
pub fn decide_again(conn: &mut Conn, app: AppId, id: DecisionId) -> Result<Vec<String>> {
    let row = store::decision(conn, app, id)?.ok_or_else(|| Error::not_found("decision"))?;
    let packed = store::input_of(conn, app, id)?.ok_or_else(|| Error::not_found("decision"))?;
    if packed.is_empty() {
        let failed = row.outcome == Outcome::Silent.name() && row.reason.as_deref() == Some(Reason::Failed.name());
        return Ok(if failed { Vec::new() } else { vec![format!("{id}: there is no input")] });
    }
    let again = remake(conn, app, &packed)?;
    let mut faults = Vec::new();
    let mut differs = |what: &str, same: bool| {
        if !same {
            faults.push(format!("{id}: {what}"));
        }
    };
    differs("the candidates differ", without_words(&again.candidates)? == without_words(&row.candidates.0)?);
    differs("the choices differ", without_words(&again.choices)? == without_words(&row.choices.0)?);
    let choices = store::choices_of(conn, app, &[id])?;
    let mut words: Vec<Choice> = again.choices.clone();
    if choices.iter().all(|c| c.release.is_none()) {
        differs("the outcome differs", again.outcome.name() == row.outcome);
        differs("the reason differs", again.reason.map(Reason::name) == row.reason.as_deref());
    }
    for choice in &choices {
        let Some(packed) = store::release_input_of(conn, app, choice.id)? else { continue };
        let again = remake(conn, app, &packed)?;
        let said = choice.release.as_ref().map(|r| r.0.clone()).unwrap_or_default();
        let (candidates, chosen): (Vec<Tried>, Vec<Choice>) = (part(&said, "candidates")?, part(&said, "choices")?);
        let same = without_words(&again.candidates)? == without_words(&candidates)?
            && without_words(&again.choices)? == without_words(&chosen)?
            && again.outcome == stood(&choice.state)
            && again.reason.map(Reason::name) == said["reason"].as_str();
        differs("the second look differs", same);
        words.extend(again.choices);
    }
    let filter = MessageFilter { decision_id: Some(id), limit: i64::MAX, ..MessageFilter::default() };
    // What a Live Activity shows is not made from the input: its sender says it, and it is kept with the message alone.
    for message in store::messages(conn, app, &filter)?.into_iter().filter(|message| message.activity_id.is_empty()) {
        differs("the words of a message differ", words.iter().any(|choice| said_so(choice, &message)));
    }
    Ok(faults)
}

/// Whether a choice made again has the very words of a stored message.
fn said_so(choice: &Choice, message: &store::MessageRow) -> bool {
    let stamp = Stamp {
        message_id: message.id,
        decision_id: message.decision_id,
        campaign_id: message.campaign_id,
        deadline_ms: message.deadline_ms,
    };
    let Some(gateway) = Platform::named(&message.platform).map(Gateway::of) else { return false };
    let same = |words: &push::Content| {
        // The number on the icon was counted in the device's row, not made from the input.
        let counted = words.badge.and_then(|_| push::badge_of(&message.payload)).map(Badge::Set);
        let words = push::Content { badge: counted, ..words.clone() };
        words.deadline_ms(choice.planned_ms, choice.deadline_ms) == message.deadline_ms
            && push::render_as(gateway, &words, (&stamp, &message.collapse_id)) == message.payload
    };
    choice.offer_id == message.offer_id
        && choice.devices.iter().zip(&choice.words).any(|(device, words)| *device == message.device_id && same(words))
}

fn stood(state: &str) -> Outcome {
    match state {
        "planned" => Outcome::Chosen,
        "held" => Outcome::Held,
        _ => Outcome::Silent,
    }
}

fn part<T: DeserializeOwned + Default>(said: &Value, name: &str) -> Result<T> {
    match &said[name] {
        Value::Null => Ok(T::default()),
        there => serde_json::from_value(there.clone()).map_err(Error::broken),
    }
}

/// As it is stored: the words of a choice are kept with its messages.
fn without_words<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(Error::broken)
}

fn remake(conn: &mut Conn, app: AppId, packed: &[u8]) -> Result<Decision> {
    let input = Input::unpack(packed)?;
    let gone = || Error::broken("a spec that an input names is not kept");
    let mut terms = Vec::with_capacity(input.candidates.len());
    for candidate in &input.candidates {
        let v = candidate.version;
        let campaign = store::version(conn, app, &v.campaign_id.to_string(), v.campaign_revision)?.ok_or_else(gone)?;
        let offer = store::version(conn, app, &v.offer_id.to_string(), v.offer_revision)?.ok_or_else(gone)?;
        terms.push(Arc::new(Terms::compile(v, campaign, offer)?));
    }
    Ok(decide(&input, &terms))
}

/// Every decision of an app, in id order: for checks.
///
/// # Errors
/// What the database says.
pub fn decision_ids(conn: &mut Conn, app: AppId) -> Result<Vec<DecisionId>> {
    store::decision_ids(conn, app)
}

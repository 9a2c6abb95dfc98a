//! This person's words: the template in the device's language, as the payload that the gateway carries. Pure.

use super::input::{Device, Input};
use super::refusal::Refusal;
use super::terms::{Terms, View};
use crate::id::{CampaignId, ChoiceId, DecisionId, MessageId};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Largest payload that APNs and FCM take, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4_096;

/// What is said on one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The first line.
    pub title: String,
    /// The text.
    pub body: String,
    /// For the app, never shown.
    pub data: BTreeMap<String, String>,
}

/// What the app on the phone has to know of a message, beside the words.
#[derive(Debug, Clone, Copy)]
pub struct Envelope {
    /// The message.
    pub message_id: MessageId,
    /// The decision that it belongs to.
    pub decision_id: DecisionId,
    /// The campaign that speaks.
    pub campaign_id: CampaignId,
    /// Until when it is of use.
    pub deadline_ms: i64,
}

/// Makes the words for one device.
///
/// # Errors
/// When the template fails, or the words do not fit into a push.
pub fn words(input: &Input, terms: &Terms, device: &Device, view: &View<'_>, deadline_ms: i64) -> Result<Words, Refusal> {
    let locales = [device.locale.as_deref(), input.user.locale.as_deref()];
    let locales: Vec<&str> = locales.into_iter().flatten().collect();
    let words = view.render(terms, &locales, &device.facts).map_err(|_| Refusal::TemplateFailed)?;
    // Ids have one length, so that the size is known before the message has one.
    let envelope = Envelope {
        message_id: MessageId::from(Uuid::nil()),
        decision_id: DecisionId::from(Uuid::nil()),
        campaign_id: CampaignId::from(Uuid::nil()),
        deadline_ms,
    };
    if payload(&device.platform, &words, &envelope).to_string().len() > PAYLOAD_BYTES_MAX {
        return Err(Refusal::PayloadTooLarge);
    }
    Ok(words)
}

/// The payload for a platform: for APNs the whole body, for FCM `notification` and `data` of the message.
pub fn payload(platform: &str, words: &Words, envelope: &Envelope) -> Value {
    let Envelope { message_id, decision_id, campaign_id, deadline_ms } = envelope;
    if platform == "ios" {
        let mut body: Map<String, Value> = words.data.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let alert = json!({ "title": words.title, "body": words.body });
        body.insert("aps".to_owned(), json!({ "alert": alert, "sound": "default" }));
        body.insert(
            "kairos".to_owned(),
            json!({
                "message_id": message_id,
                "decision_id": decision_id,
                "campaign_id": campaign_id,
                "deadline_ms": deadline_ms,
            }),
        );
        return Value::Object(body);
    }
    let mut data: Map<String, Value> = words.data.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    for (key, text) in [
        ("kairos_message_id", message_id.to_string()),
        ("kairos_decision_id", decision_id.to_string()),
        ("kairos_campaign_id", campaign_id.to_string()),
        ("kairos_deadline_ms", deadline_ms.to_string()),
    ] {
        data.insert(key.to_owned(), Value::String(text));
    }
    json!({ "notification": { "title": words.title, "body": words.body }, "data": data })
}

/// By which a phone replaces what it shows: the same for every attempt at a message, at most 64 bytes.
pub fn collapse_id(choice: ChoiceId) -> String {
    choice.to_string()
}

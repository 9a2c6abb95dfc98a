//! `/v1/me/messages/{id}/why`: in plain words why something came, and what came of it.

use super::id;
use super::mine::{own, owner};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::ProblemBody;
use crate::id::{ConsentId, DecisionId, EventId, MessageId};
use crate::moment::plain;
use crate::moment::store::{self, Owner};
use crate::people::account::UserToken;
use crate::people::consent::{self, Record};
use crate::platform::Platform;
use crate::push::State;
use crate::store::Conn;
use actix_web::web;
use serde::Serialize;

/// Why something came, for the person to whom it came.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Why)]
pub struct WhyOut {
    message_id: MessageId,
    decision_id: DecisionId,
    /// What happened that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    /// In sentences.
    because: Vec<String>,
    /// What came of it, in sentences.
    outcome: String,
    /// The records of consent that allowed it.
    consent_ids: Vec<ConsentId>,
    decided_at: Time,
}

/// Why one of the caller's messages came.
///
/// # Errors
/// 401, 404.
#[utoipa::path(get, path = "/v1/me/messages/{id}/why", tag = "me", params(("id" = String, Path)), responses(
    (status = 200, body = WhyOut), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)),
    security(("user_token" = [])))]
pub async fn why(caller: UserToken, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<WhyOut>> {
    let wanted: MessageId = id(&path, "message")?;
    let of = owner(&caller, &platform);
    let out = platform.store.read(move |conn| explain(conn, of, wanted)).await?;
    Ok(web::Json(out))
}

fn explain(conn: &mut Conn, of: Owner, wanted: MessageId) -> Result<WhyOut> {
    let message = own(conn, of, wanted)?;
    let decision = store::decision(conn, of.app, message.decision_id)?.ok_or_else(|| Error::not_found("message"))?;
    let mut because = Vec::new();
    let moment_ids: Vec<_> = decision.moment_id.into_iter().collect();
    match store::moments(conn, of.app, &moment_ids)?.into_iter().next() {
        Some(moment) => because.push(format!(
            "Something happened at {} that opened a moment of the kind “{}” for you, until {}.",
            Time(moment.opened_ms),
            moment.kind,
            Time(moment.closes_ms)
        )),
        None => because.push("It was planned for you and others at this time.".to_owned()),
    }
    let records = consent::records(conn, of.app, of.user, &message.consent.0.consent_ids)?;
    let purpose = &message.consent.0.purpose;
    let of_trigger = |record: &&Record| record.row.extent.purpose != *purpose;
    for record in records.iter().filter(of_trigger) {
        let needed = &record.row.extent.purpose;
        because.push(format!("What happened was matched with you because you agreed to “{needed}” on {}.", Time(record.at_ms)));
    }
    match records.iter().find(|record| !of_trigger(record)) {
        Some(record) => because.push(format!("You agreed to messages of the purpose “{purpose}” on {}.", Time(record.at_ms))),
        None => {
            because.push(format!("Messages of the purpose “{purpose}” belong to the service that you use; they need no consent."))
        }
    }
    let others = decision.candidates.0.len().saturating_sub(1);
    if others > 0 {
        because.push(format!("Of {} offers that competed it was the one worth most to you at that time.", others + 1));
    }
    because.push("You can switch its topic off, pause messages or withdraw your consent at any time.".to_owned());
    Ok(WhyOut {
        message_id: message.id,
        decision_id: message.decision_id,
        event_id: decision.event_id,
        because,
        outcome: what_came(&message),
        consent_ids: message.consent.0.consent_ids,
        decided_at: Time(decision.decided_ms),
    })
}

fn what_came(message: &store::MessageRow) -> String {
    let said = State::parse(&message.state).map(|state| plain::outcome(state, message.reason.as_deref())).unwrap_or_default();
    match message.recalled_ms {
        Some(at_ms) => format!("{said} It was taken back on {}.", Time(at_ms)),
        None => said,
    }
}

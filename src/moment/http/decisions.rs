//! `/v1/decisions`: why a user did, or did not, get something.

use super::{filter, id};
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::Result;
use crate::http::{Page, PageQuery, ProblemBody, Query};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, EventId, MessageId, MomentId, OfferId, PartnerId, PushId, UserId};
use crate::moment::decision::{Fate, Outcome, Tried};
use crate::moment::refusal::GateVerdict;
use crate::moment::store::{self, ChoiceRow, DecisionRow, Filter, MomentRow};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::web;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

/// Which decisions to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DecisionQuery {
    /// Only those about this user.
    user: Option<String>,
    /// Only those that this event led to.
    event: Option<String>,
    /// Only those in which this campaign spoke.
    campaign: Option<String>,
    /// Only those of this direct push.
    push: Option<String>,
    /// Only those with this outcome.
    outcome: Option<Outcome>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The stored outcome of one moment or scheduled target.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Decision)]
pub struct DecisionOut {
    id: DecisionId,
    app_id: AppId,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<MomentOut>,
    /// The scheduled campaign, where there was no moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<CampaignId>,
    /// The direct push, where there was neither; to its candidate and its messages it is campaign and offer. What a Live
    /// Activity was told has none either: its messages name the activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    push_id: Option<PushId>,
    candidates: Vec<CandidateOut>,
    outcome: Outcome,
    /// Whether a test key is behind it.
    test: bool,
    choices: Vec<ChoiceOut>,
    /// Why there is silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    predicted_latency_ms: i64,
    decided_at: Time,
    hops: HopsOut,
}

/// A transient opportunity for one user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Moment)]
pub struct MomentOut {
    id: MomentId,
    kind: String,
    key: String,
    opened_at: Time,
    closes_at: Time,
    context: Value,
}

/// How one candidate fared.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Candidate)]
pub struct CandidateOut {
    campaign_id: CampaignId,
    campaign_revision: i64,
    offer_id: OfferId,
    offer_revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_id: Option<PartnerId>,
    gates: Vec<GateVerdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    result: Fate,
}

/// One winner, as it stands now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Choice)]
pub struct ChoiceOut {
    id: ChoiceId,
    campaign_id: CampaignId,
    offer_id: OfferId,
    /// `planned`, `held` or `release_refused`.
    state: String,
    send_at: Time,
    message_ids: Vec<MessageId>,
    /// What came of the second look, when it was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<Value>,
}

/// When what happened.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Hops)]
pub struct HopsOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Time>,
    decided_at: Time,
    /// When the first of its messages was accepted by a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<Time>,
    /// When the first of its messages was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<Time>,
}

/// Lists decisions, the oldest first.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/decisions", tag = "decisions", params(DecisionQuery), responses(
    (status = 200, body = Page<DecisionOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
    (status = 403, body = ProblemBody)), security(("server_key" = [])))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<DecisionQuery>,
) -> Result<web::Json<Page<DecisionOut>>> {
    caller.need(Scope::DecisionsRead)?;
    let Query(query) = query;
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let wanted = Filter {
        user_id: filter(query.user.as_deref(), "user")?,
        event_id: filter(query.event.as_deref(), "event")?,
        campaign_id: filter::<CampaignId>(query.campaign.as_deref(), "campaign")?.or(filter::<PushId>(
            query.push.as_deref(),
            "push",
        )?
        .map(|id| id.uuid().into())),
        outcome: query.outcome.map(Outcome::name),
        after: page.after().to_owned(),
        limit: page.rows()?,
    };
    let app = caller.app_id;
    let found = platform
        .store
        .read(move |conn| {
            let rows = store::decisions(conn, app, &wanted)?;
            shown(conn, app, rows)
        })
        .await?;
    Ok(web::Json(page.page(found, |d| d.id.to_string(), |d| d)?))
}

/// One decision, with every candidate and why it was refused.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/decisions/{id}", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, body = DecisionOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody)), security(("server_key" = [])))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<DecisionOut>> {
    caller.need(Scope::DecisionsRead)?;
    let (app, wanted) = (caller.app_id, id::<DecisionId>(&path, "decision")?);
    let found = platform
        .store
        .read(move |conn| {
            let row = store::decision(conn, app, wanted)?;
            shown(conn, app, row.into_iter().collect())
        })
        .await?;
    found.into_iter().next().map(web::Json).ok_or_else(|| crate::error::Error::not_found("decision"))
}

/// Puts decisions together with their moments, choices and messages.
fn shown(conn: &mut Conn, app: AppId, rows: Vec<DecisionRow>) -> Result<Vec<DecisionOut>> {
    let ids: Vec<DecisionId> = rows.iter().map(|r| r.id).collect();
    let moment_ids: Vec<MomentId> = rows.iter().filter_map(|r| r.moment_id).collect();
    let mut moments: HashMap<MomentId, MomentRow> =
        store::moments(conn, app, &moment_ids)?.into_iter().map(|m| (m.id, m)).collect();
    let choices = store::choices_of(conn, app, &ids)?;
    let choice_ids: Vec<ChoiceId> = choices.iter().map(|c| c.id).collect();
    let mut messages: HashMap<ChoiceId, Vec<MessageId>> = HashMap::new();
    for (choice, message) in store::message_ids(conn, app, &choice_ids)? {
        messages.entry(choice).or_default().push(message);
    }
    let firsts = store::first_hops(conn, app, &ids)?;
    let pushes = store::pushes_there(conn, app, &rows.iter().filter_map(DecisionRow::push).collect::<Vec<_>>())?;
    let mut by_decision: HashMap<DecisionId, Vec<ChoiceOut>> = HashMap::new();
    for choice in choices {
        let message_ids = messages.remove(&choice.id).unwrap_or_default();
        by_decision.entry(choice.decision_id).or_default().push(choice_out(choice, message_ids));
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let (accepted_ms, opened_ms) = firsts.get(&row.id).copied().unwrap_or_default();
            let push_id = row.push();
            DecisionOut {
                moment: row.moment_id.and_then(|m| moments.remove(&m)).map(moment_out),
                choices: by_decision.remove(&row.id).unwrap_or_default(),
                hops: HopsOut {
                    occurred_at: row.hops.0.occurred_ms.map(Time),
                    received_at: row.hops.0.received_ms.map(Time),
                    decided_at: Time(row.hops.0.decided_ms),
                    accepted_at: accepted_ms.map(Time),
                    opened_at: opened_ms.map(Time),
                },
                id: row.id,
                app_id: app,
                user_id: row.user_id,
                event_id: row.event_id,
                campaign_id: row.campaign_id.filter(|_| push_id.is_none()),
                push_id: push_id.filter(|id| pushes.contains(id)),
                candidates: row.candidates.0.into_iter().map(candidate_out).collect(),
                test: row.test,
                outcome: Outcome::named(&row.outcome).unwrap_or(Outcome::Silent),
                reason: row.reason,
                predicted_latency_ms: row.predicted_latency_ms,
                decided_at: Time(row.decided_ms),
            }
        })
        .collect())
}

fn moment_out(moment: MomentRow) -> MomentOut {
    MomentOut {
        id: moment.id,
        kind: moment.kind,
        key: moment.key,
        opened_at: Time(moment.opened_ms),
        closes_at: Time(moment.closes_ms),
        context: moment.context.0,
    }
}

fn candidate_out(tried: Tried) -> CandidateOut {
    CandidateOut {
        campaign_id: tried.version.campaign_id,
        campaign_revision: tried.version.campaign_revision,
        offer_id: tried.version.offer_id,
        offer_revision: tried.version.offer_revision,
        partner_id: tried.partner_id,
        gates: tried.gates,
        score: tried.score,
        result: tried.result,
    }
}

fn choice_out(choice: ChoiceRow, message_ids: Vec<MessageId>) -> ChoiceOut {
    ChoiceOut {
        id: choice.id,
        campaign_id: choice.campaign_id,
        offer_id: choice.offer_id,
        state: choice.state,
        send_at: Time(choice.planned_ms),
        message_ids,
        release: choice.release.map(|r| r.0),
    }
}

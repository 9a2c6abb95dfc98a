//! Taking back what was said: of one message, of a decision, of a campaign.

use super::id;
use super::messages::{MessageOut, one};
use crate::app::{BackOffice, Mode, Scope};
use crate::campaign::{self, Status};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::ProblemBody;
use crate::id::{CampaignId, DecisionId, MessageId};
use crate::moment::recall::{self, tell};
use crate::moment::store::{self, CampaignRecall};
use crate::platform::Platform;
use crate::push::{State, recall as push_recall};
use actix_web::{HttpResponse, web};
use serde::Serialize;

/// What was taken back.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Recalled)]
pub struct RecalledOut {
    /// How many had not left and never will.
    cancelled: usize,
    /// How many phones are told to take it back.
    recalled: usize,
}

/// The recall of what a campaign has shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CampaignRecall)]
pub struct CampaignRecallOut {
    campaign_id: CampaignId,
    asked_at: Time,
    /// How many phones have been told so far.
    recalled: i64,
    /// Absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    done_at: Option<Time>,
}

impl From<CampaignRecall> for CampaignRecallOut {
    fn from(row: CampaignRecall) -> Self {
        Self {
            campaign_id: row.campaign_id,
            asked_at: Time(row.asked_ms),
            recalled: row.recalled,
            done_at: row.done_ms.map(Time),
        }
    }
}

/// Takes a message back. One that waits is cancelled. One that a gateway has taken, or may have, is followed, once, by a
/// silent push that tells the app to remove it; that is a message of its own, which names this one in `recalls`. It takes
/// away and says nothing, so it needs no consent, and it goes to no phone that has become somebody else's. A test key takes
/// back messages that are tests alone.
///
/// # Errors
/// 401, 403, 404, 409 `never_shown`.
#[utoipa::path(post, path = "/v1/messages/{id}/recall", tag = "messages", params(("id" = String, Path)), responses(
    (status = 200, body = MessageOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)), security(("server_key" = [])))]
pub async fn message(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> Result<web::Json<MessageOut>> {
    caller.need(Scope::PushWrite)?;
    let (app, wanted, now_ms) = (caller.app_id, id::<MessageId>(&path, "message")?, platform.clock.now_ms());
    let (ids, by_test_key) = (platform.ids.clone(), caller.mode == Mode::Test);
    let done = platform
        .store
        .write(move |conn| {
            // Who asks at the same time sees what the other did.
            conn.serialise(&format!("recall:{wanted}"))?;
            let row = store::message(conn, app, wanted)?.ok_or_else(|| Error::not_found("message"))?;
            if by_test_key && !row.test {
                return Err(Error::forbidden("A test key takes back messages that a test key has led to."));
            }
            let done = push_recall::recall(conn, app, &[wanted], (&ids, now_ms))?;
            let is_back = done != push_recall::Recalled::default() || row.recalled_ms.is_some();
            // What waited to be sent again is stopped, also where nothing can take from the phone what may be there.
            if is_back || store::message(conn, app, wanted)?.is_some_and(|now| now.is_stopped()) {
                return Ok(done);
            }
            let why = match (row.recalls.is_empty(), row.activity_id.is_empty()) {
                (true, true) if State::parse(&row.state).is_some_and(State::counts) => {
                    "is of a kind without a notification, or something newer has taken its place"
                }
                (true, true) => "was never shown",
                (true, false) => "is of a Live Activity, which an end takes away",
                (false, _) => "is itself a recall",
            };
            Err(Error::conflict("never_shown", format!("The message is {} and {why}: there is nothing to take back.", row.state)))
        })
        .await?;
    tell(&platform, done);
    one(&platform, app, wanted).await.map(web::Json)
}

/// Takes back all that a decision has said, on every device, and what it still holds. A test key takes back decisions that
/// are tests alone.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(post, path = "/v1/decisions/{id}/recall", tag = "decisions", params(("id" = String, Path)), responses(
    (status = 200, body = RecalledOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody)), security(("server_key" = [])))]
pub async fn decision(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> Result<web::Json<RecalledOut>> {
    caller.need(Scope::PushWrite)?;
    let (app, wanted, now_ms) = (caller.app_id, id::<DecisionId>(&path, "decision")?, platform.clock.now_ms());
    let (ids, by_test_key) = (platform.ids.clone(), caller.mode == Mode::Test);
    let done = platform
        .store
        .write(move |conn| {
            let row = store::decision(conn, app, wanted)?.ok_or_else(|| Error::not_found("decision"))?;
            if by_test_key && !row.test {
                return Err(Error::forbidden("A test key takes back decisions that a test key has led to."));
            }
            recall::decision(conn, (app, wanted), (&ids, now_ms))
        })
        .await?;
    tell(&platform, done);
    Ok(web::Json(RecalledOut { cancelled: done.cancelled, recalled: done.recalled }))
}

/// Takes back all that a campaign has shown in the last 30 days. It works in the background; asking again tells how far it
/// is, and begins anew once it is done. A campaign that is live goes on speaking: pause or end it first. No test
/// key takes back a campaign, whose messages are live and tests alike.
///
/// # Errors
/// 401, 403, 404, 409 `is_live`.
#[utoipa::path(post, path = "/v1/campaigns/{id}/recall", tag = "campaign", params(("id" = String, Path)), responses(
    (status = 202, body = CampaignRecallOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)), security(("server_key" = [])))]
pub async fn of_campaign(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::PushWrite)?;
    let (app, wanted, now_ms) = (caller.app_id, id::<CampaignId>(&path, "campaign")?, platform.clock.now_ms());
    let by_test_key = caller.mode == Mode::Test;
    let row = platform
        .store
        .write(move |conn| {
            let status = campaign::status(conn, app, wanted)?;
            if by_test_key {
                return Err(Error::forbidden("A test key takes back messages, decisions and pushes of tests, and no campaign."));
            }
            if status == Status::Live {
                return Err(Error::conflict("is_live", "The campaign is live and goes on speaking: pause or end it first."));
            }
            recall::begin(conn, (app, wanted), now_ms)
        })
        .await?;
    Ok(HttpResponse::Accepted().json(CampaignRecallOut::from(row)))
}

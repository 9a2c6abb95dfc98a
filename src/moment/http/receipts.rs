//! `POST /v1/messages/{id}/receipts`: what the phone says of a message; saying it twice changes nothing.

use super::id;
use super::messages::{ReceiptOut, receipt_out};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody, given};
use crate::id::MessageId;
use crate::moment::store::{self, ReceiptRow};
use crate::moment::value::SKEW_MS;
use crate::people::account::UserToken;
use crate::platform::Platform;
use actix_web::web;
use serde::{Deserialize, Serialize};

/// What happened to a message on the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// The phone has it.
    Delivered,
    /// It was shown.
    Displayed,
    /// It was tapped.
    Opened,
    /// It was swiped away.
    Dismissed,
}

impl ReceiptKind {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Displayed => "displayed",
            Self::Opened => "opened",
            Self::Dismissed => "dismissed",
        }
    }
}

/// A receipt.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptIn {
    kind: ReceiptKind,
    /// By the phone's clock; now when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    at: Option<Time>,
}

/// The receipts of a message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Receipts)]
pub struct ReceiptsOut {
    message_id: MessageId,
    receipts: Vec<ReceiptOut>,
}

/// Notes a receipt; of each kind the first stays.
///
/// # Errors
/// 400, 401, 404 for a message that is not the caller's.
#[utoipa::path(post, path = "/v1/messages/{id}/receipts", tag = "messages", params(("id" = String, Path)),
    request_body = ReceiptIn, responses((status = 200, body = ReceiptsOut), (status = 400, body = ProblemBody),
    (status = 401, body = ProblemBody), (status = 404, body = ProblemBody), (status = 413, body = ProblemBody),
    (status = 415, body = ProblemBody)), security(("user_token" = [])))]
pub async fn create(
    caller: UserToken,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<ReceiptIn>,
) -> Result<web::Json<ReceiptsOut>> {
    let message_id: MessageId = id(&path, "message")?;
    let now_ms = platform.clock.now_ms();
    let at_ms = body.0.at.map_or(now_ms, |t| t.0);
    if at_ms > now_ms + SKEW_MS {
        return Err(Error::invalid("at", "out_of_range", "lies in the future"));
    }
    let row = ReceiptRow { app_id: caller.app_id, message_id, kind: body.0.kind.name().to_owned(), at_ms, received_ms: now_ms };
    let receipts = platform
        .store
        .write(move |conn| {
            let message = store::message(conn, caller.app_id, message_id)?;
            if message.is_none_or(|m| m.user_id != caller.user_id) {
                return Err(Error::not_found("message"));
            }
            store::insert_receipts(conn, &[row])?;
            store::receipts(conn, caller.app_id, &[message_id])
        })
        .await?;
    Ok(web::Json(ReceiptsOut { message_id, receipts: receipts.into_iter().map(receipt_out).collect() }))
}

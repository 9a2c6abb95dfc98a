//! What phones say of messages: `POST /v1/messages/{id}/receipts` for one, `POST /v1/receipts` for what was gathered while
//! the phone was away. Saying it twice changes nothing.

use super::id;
use super::messages::{ReceiptOut, receipt_out};
use crate::app::{PublishableKey, bearer, count_events};
use crate::clock::Time;
use crate::error::{Error, FieldError, Result};
use crate::http::{Body, ProblemBody, check_text, given};
use crate::id::{AppId, MessageId, UserId};
use crate::moment::receipt::{ReceiptKind, Receipts, Said, Speaker, Status};
use crate::people::account::UserToken;
use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

/// Receipts of one call.
const RECEIPTS_MAX: usize = 100;
/// Longest id of a button, and of an installation, in characters.
const NAME_CHARS_MAX: usize = 100;

/// A receipt.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptIn {
    kind: ReceiptKind,
    /// By the phone's clock; now when left out. Earlier than the message left, it counts as then; more than five minutes
    /// ahead is refused.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    at: Option<Time>,
    /// With `opened`: the id of the button of the notification's category that was tapped.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    action: Option<String>,
}

/// A receipt and the message that it is of.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReceiptOfMessage)]
pub struct ReceiptOfIn {
    message_id: MessageId,
    kind: ReceiptKind,
    /// As of a single receipt.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    at: Option<Time>,
    /// As of a single receipt.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    action: Option<String>,
}

/// What a phone has gathered.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReceiptsOfMessages)]
pub struct BatchIn {
    /// With the publishable key alone, as a service extension or an app that is signed out has it: the installation to
    /// whose messages the receipts belong. With a user's token it may be left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    installation_id: Option<String>,
    /// In any order.
    #[schema(max_items = 100)]
    receipts: Vec<ReceiptOfIn>,
}

/// The receipts of a message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Receipts)]
pub struct ReceiptsOut {
    message_id: MessageId,
    receipts: Vec<ReceiptOut>,
}

/// What became of each receipt, in the order sent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReceiptResults)]
pub struct BatchOut {
    results: Vec<ReceiptResult>,
}

/// What became of one receipt.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReceiptResult {
    message_id: MessageId,
    kind: ReceiptKind,
    /// Send again what is none of these and nothing else: they do not change.
    status: Status,
}

/// Who may say what came of messages: a signed-in user, or the app with its publishable key.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptCaller {
    app_id: AppId,
    user_id: Option<UserId>,
}

impl FromRequest for ReceiptCaller {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if bearer(request.headers()).unwrap_or_default().is_empty() {
            let key = PublishableKey::from_request(request, payload);
            return Box::pin(async move { key.await.map(|key| Self { app_id: key.app_id, user_id: None }) });
        }
        let user = UserToken::from_request(request, payload);
        Box::pin(async move { user.await.map(|user| Self { app_id: user.app_id, user_id: Some(user.user_id) }) })
    }
}

/// Notes a receipt; of each kind the first stays.
///
/// # Errors
/// 400, 401, 404 for a message that is not the caller's, 409 `not_sent`.
#[utoipa::path(post, path = "/v1/messages/{id}/receipts", tag = "messages", params(("id" = String, Path)),
    request_body = ReceiptIn, responses((status = 200, body = ReceiptsOut), (status = 400, body = ProblemBody),
    (status = 401, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody),
    (status = 413, body = ProblemBody), (status = 415, body = ProblemBody)), security(("user_token" = [])))]
pub async fn create(
    caller: UserToken,
    desk: web::Data<Receipts>,
    path: web::Path<String>,
    body: Body<ReceiptIn>,
) -> Result<web::Json<ReceiptsOut>> {
    let message_id: MessageId = id(&path, "message")?;
    let Body(ReceiptIn { kind, at, action }) = body;
    check_action("", kind, action.as_deref()).map_err(|error| Error::invalid_fields(vec![error]))?;
    let speaker = Speaker { app_id: caller.app_id, user_id: Some(caller.user_id), installation_id: None };
    let said = Said { message_id, kind, at_ms: at.map(|time| time.0), action };
    let heard = desk.take(speaker, vec![said]).await?.pop().ok_or_else(|| Error::broken("a receipt without an answer"))?;
    match heard.status {
        Status::Accepted | Status::Duplicate => {
            Ok(web::Json(ReceiptsOut { message_id, receipts: heard.receipts.into_iter().map(receipt_out).collect() }))
        }
        Status::NotFound => Err(Error::not_found("message")),
        Status::NotSent => Err(Error::conflict("not_sent", "Nothing of this message has left this server: nobody has seen it.")),
        Status::Invalid => Err(Error::invalid("at", "out_of_range", "lies in the future")),
    }
}

/// Notes up to a hundred receipts, each on its own: what is answered for one says nothing of the others. Each counts as a
/// request of its caller.
///
/// # Errors
/// 400 when the body as a whole is wrong, 401, 413, 429, 503.
#[utoipa::path(post, path = "/v1/receipts", tag = "messages", request_body = BatchIn,
    security(("publishable_key" = []), ("user_token" = [])),
    responses((status = 200, body = BatchOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 413, body = ProblemBody), (status = 415, body = ProblemBody), (status = 429, body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub async fn create_many(
    caller: ReceiptCaller,
    desk: web::Data<Receipts>,
    request: HttpRequest,
    body: Body<BatchIn>,
) -> Result<web::Json<BatchOut>> {
    let Body(BatchIn { installation_id, receipts }) = body;
    if receipts.len() > RECEIPTS_MAX {
        return Err(Error::invalid("receipts", "too_long", format!("at most {RECEIPTS_MAX} receipts per call")));
    }
    match &installation_id {
        Some(name) => check_text("installation_id", name, NAME_CHARS_MAX)?,
        None if caller.user_id.is_none() => {
            let message = "say whose messages these are: the installation's name, or sign in";
            return Err(Error::invalid("installation_id", "required", message));
        }
        None => {}
    }
    let wrong = receipts
        .iter()
        .enumerate()
        .filter_map(|(n, receipt)| check_action(&format!("receipts[{n}]."), receipt.kind, receipt.action.as_deref()).err());
    let wrong: Vec<FieldError> = wrong.collect();
    if !wrong.is_empty() {
        return Err(Error::invalid_fields(wrong));
    }
    count_events(&request, receipts.len()).await?;
    let asked: Vec<(MessageId, ReceiptKind)> = receipts.iter().map(|receipt| (receipt.message_id, receipt.kind)).collect();
    let said = |receipt: ReceiptOfIn| Said {
        message_id: receipt.message_id,
        kind: receipt.kind,
        at_ms: receipt.at.map(|time| time.0),
        action: receipt.action,
    };
    let speaker = Speaker { app_id: caller.app_id, user_id: caller.user_id, installation_id };
    let heard = desk.take(speaker, receipts.into_iter().map(said).collect()).await?;
    let results = asked.into_iter().zip(heard);
    let results = results.map(|((message_id, kind), heard)| ReceiptResult { message_id, kind, status: heard.status });
    Ok(web::Json(BatchOut { results: results.collect() }))
}

/// A button is tapped, nothing else.
fn check_action(prefix: &str, kind: ReceiptKind, action: Option<&str>) -> Result<(), FieldError> {
    let Some(action) = action else { return Ok(()) };
    let refusal = |code, message: &str| Err(FieldError { field: format!("{prefix}action"), code, message: message.to_owned() });
    if kind != ReceiptKind::Opened {
        return refusal("invalid", "is for `opened` alone: the button that was tapped");
    }
    match check_text("action", action, NAME_CHARS_MAX) {
        Ok(()) => Ok(()),
        Err(_) => refusal("invalid", "must be 1 to 100 characters without control characters"),
    }
}

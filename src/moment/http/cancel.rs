//! `POST /v1/messages/{id}/cancel`: stops a message that has not ended.

use super::id;
use super::messages::{MessageOut, one};
use crate::app::{BackOffice, Mode, Scope};
use crate::error::{Error, Result};
use crate::http::ProblemBody;
use crate::id::MessageId;
use crate::moment::store;
use crate::platform::Platform;
use crate::push;
use actix_web::web;

/// Cancels a message that waits. One of which an attempt may have arrived ends as `unknown`. One that is on its way stays
/// `sending` and is not tried again; one that has ended is left as it is. A test key cancels messages that are tests alone.
///
/// # Errors
/// 401, 403, 404, 409 `has_ended`.
#[utoipa::path(post, path = "/v1/messages/{id}/cancel", tag = "messages", params(("id" = String, Path)), responses(
    (status = 200, body = MessageOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
    (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)), security(("server_key" = [])))]
pub async fn cancel(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<MessageOut>> {
    caller.need(Scope::PushWrite)?;
    let (app, wanted, now_ms) = (caller.app_id, id::<MessageId>(&path, "message")?, platform.clock.now_ms());
    let by_test_key = caller.mode == Mode::Test;
    platform
        .store
        .write(move |conn| {
            let row = store::message(conn, app, wanted)?.ok_or_else(|| Error::not_found("message"))?;
            if by_test_key && !row.test {
                return Err(Error::forbidden("A test key cancels messages that a test key has led to."));
            }
            if row.is_stopped() || push::outbox::cancel(conn, app, (wanted, "cancelled"), now_ms)? {
                return Ok(());
            }
            Err(Error::conflict("has_ended", format!("The message is {} and can no longer be cancelled.", row.state)))
        })
        .await?;
    platform.feedback_hint.nudge();
    one(&platform, app, wanted).await.map(web::Json)
}

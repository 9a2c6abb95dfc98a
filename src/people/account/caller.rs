//! The extractor for a signed-in user.

use super::access::{Accounts, missing};
use super::impersonation;
use crate::app::{Mode, bearer, count};
use crate::clock::MINUTE_MS;
use crate::error::{Error, Problem, Result};
use crate::http::CallerApp;
use crate::id::{AppId, SessionId, UserId};
use crate::people::consent::Signals;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

/// A user, by `Authorization: Bearer <access token>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserToken {
    /// The tenant.
    pub app_id: AppId,
    /// The person.
    pub user_id: UserId,
    /// The sign-in.
    pub session_id: SessionId,
    /// Whether the session was begun with a live or a test key.
    pub mode: Mode,
    /// When they proved last who they are; never for an anonymous user, who has nothing to prove it with.
    pub proven_ms: Option<i64>,
    /// Whether it is somebody of the back office who acts as this user.
    pub acting: bool,
}

/// How long a proof is good for sensitive calls, in milliseconds.
const FRESH_MS: i64 = 5 * MINUTE_MS;

impl UserToken {
    /// Refuses a sensitive call when the user has not proven lately who they are.
    ///
    /// # Errors
    /// 401 `insufficient_user_authentication` (RFC 9470).
    pub fn need_fresh(&self, now_ms: i64) -> Result<()> {
        if self.acting {
            return Err(impersonation::refused());
        }
        if self.proven_ms.is_none_or(|proven_ms| now_ms - proven_ms < FRESH_MS) {
            return Ok(());
        }
        let detail =
            "This call wants a proof of who you are that is at most 5 minutes old: call POST /v1/auth/step-up, or sign in again.";
        Err(Problem::new(401, "insufficient_user_authentication", detail).into())
    }
}

impl FromRequest for UserToken {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let accounts = request.app_data::<web::Data<Accounts>>();
            let accounts = accounts.ok_or_else(|| Error::broken("the server was started without its accounts"))?;
            let caller = accounts.verify(&bearer(request.headers()).ok_or_else(missing)?).await?;
            request.extensions_mut().insert(CallerApp(caller.app_id));
            if caller.acting {
                impersonation::allow(&request)?;
            } else if Signals::in_headers(request.headers()) {
                let signals = request.app_data::<web::Data<Signals>>();
                let signals = signals.ok_or_else(|| Error::broken("the server was started without its signals"))?;
                signals.heard(accounts.platform(), (caller.app_id, caller.user_id), caller.session_id).await?;
            }
            count(&request, caller.session_id.uuid()).await?;
            Ok(caller)
        })
    }
}

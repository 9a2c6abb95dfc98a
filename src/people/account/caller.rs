//! The extractor for a signed-in user.

use super::access::{Accounts, missing};
use crate::app::{Mode, bearer, count};
use crate::error::{Error, Result};
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
            if Signals::in_headers(request.headers()) {
                let signals = request.app_data::<web::Data<Signals>>();
                let signals = signals.ok_or_else(|| Error::broken("the server was started without its signals"))?;
                signals.heard(accounts.platform(), (caller.app_id, caller.user_id), caller.session_id).await?;
            }
            count(&request, caller.session_id.uuid()).await?;
            Ok(caller)
        })
    }
}

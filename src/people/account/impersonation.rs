//! Somebody of the back office acts as a user, to see what the user sees.
//!
//! It is looking over a shoulder, for ten minutes: the token reads, and it signs out; what changes something is refused,
//! so nothing that staff does can pass for the user's own word. There is no refresh token. The token says who acts
//! (`act`, RFC 8693) and how (`amr`: `imp`), so that other services can refuse it too; the user sees the session among
//! theirs and can end it; the audit log keeps who and why.

use super::access::Accounts;
use super::methods::{Method, Methods};
use super::store::{self, Session};
use crate::app::{BackOffice, Who};
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::FreeJson;
use crate::id::UserId;
use crate::store::Conn;
use actix_web::HttpRequest;
use actix_web::http::Method as Verb;

/// How long it lasts, in seconds.
pub(super) const ACTING_S: i64 = 600;
/// What is no reading and may be done all the same.
const MAY: &str = "/v1/auth/sign-out";

/// A session in which somebody acts for a user.
pub(super) struct Begun {
    pub(super) session: Session,
    pub(super) access: Secret,
}

impl Accounts {
    /// Begins to act as a user.
    ///
    /// # Errors
    /// 404; 409 `user_disabled`; what the database says.
    pub(super) async fn impersonate(&self, caller: &BackOffice, user: UserId, user_agent: Option<String>) -> Result<Begun> {
        let platform = self.platform();
        let (app_id, id) = (caller.app_id, platform.ids.next());
        let mut session = Session::begin((app_id, id), user, caller.mode, platform.clock.now_ms());
        session.amr = Methods::one(Method::Impersonation).to_string();
        session.user_agent = user_agent;
        session.actor = Some(match caller.who {
            Who::Key(id) => id.to_string(),
            Who::Operator(id) => id.to_string(),
        });
        let stored = session.clone();
        let begin = move |conn: &mut Conn| {
            store::hold_user(conn, app_id, user)?;
            let user = store::user(conn, app_id, user)?.ok_or_else(|| Error::not_found("user"))?;
            if user.disabled {
                return Err(Error::conflict("user_disabled", "Nobody acts as a disabled user: enable the user first."));
            }
            store::insert_session(conn, &stored)?;
            Ok(user.claims.map(|doc| doc.0))
        };
        let claims: Option<FreeJson> = platform.store.write(begin).await?;
        let access = Secret::new(self.access_token(&session, claims, ACTING_S)?);
        Ok(Begun { session, access })
    }
}

/// Refuses what somebody who acts as a user may not do.
///
/// # Errors
/// 403 `impersonated`.
pub(super) fn allow(request: &HttpRequest) -> Result<()> {
    let reads = matches!(*request.method(), Verb::GET | Verb::HEAD);
    if reads || request.match_pattern().as_deref() == Some(MAY) { Ok(()) } else { Err(refused()) }
}

/// The refusal.
pub(super) fn refused() -> Error {
    let detail = "This token is of somebody who acts as the user: it only reads. Change the user's data with a server key.";
    Problem::new(403, "impersonated", detail).into()
}

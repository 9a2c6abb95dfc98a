//! `/v1/auth/mfa/totp/challenge` and `recovery`: the second factor of a sign-in whose first one was right.

use super::{SessionOut, welcome};
use crate::app::PublishableKey;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ClientAddress, ProblemBody, check_text};
use crate::people::account::access::Accounts;
use crate::people::account::arrival::{Arrival, Entered};
use crate::people::account::challenge::{self, Kind};
use crate::people::account::departure::Gone;
use crate::people::account::factor::{self, Shown};
use crate::people::account::limit::{Attempt, by_address};
use crate::people::account::store;
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

/// Longest code and token, in characters.
pub(super) const CODE_MAX: usize = 100;

/// A code and the token that it goes with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Code)]
pub struct CodeIn {
    /// From the answer that asked for the code.
    #[schema(value_type = String, max_length = 100)]
    pub(super) challenge_token: Secret,
    /// Six digits, or a recovery code.
    #[schema(value_type = String, max_length = 100)]
    pub(super) code: Secret,
}

impl CodeIn {
    pub(super) fn check(&self) -> Result<()> {
        check_text("challenge_token", self.challenge_token.expose(), CODE_MAX)?;
        check_text("code", self.code.expose(), CODE_MAX)
    }
}

/// What came of a code.
enum Outcome {
    In(Box<Entered>),
    Wrong,
    Over,
}

/// Ends a sign-in with a code of the authenticator app. A code is good once.
///
/// # Errors
/// 400, 401 `invalid_code` or `challenge_over`, 429.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/challenge", tag = "auth", request_body = CodeIn, security(("publishable_key" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub async fn totp(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CodeIn>,
) -> Result<HttpResponse> {
    body.0.check()?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), None);
    let CodeIn { challenge_token, code } = body.0;
    enter(&accounts, (caller, address, arrival), challenge_token, Shown::Totp(code)).await
}

/// Ends a sign-in with a recovery code, which is used up.
///
/// # Errors
/// 400, 401 `invalid_code` or `challenge_over`, 429.
#[utoipa::path(post, path = "/v1/auth/mfa/totp/recovery", tag = "auth", request_body = CodeIn, security(("publishable_key" = [])),
    responses((status = 200, body = SessionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 429, body = ProblemBody)))]
pub async fn recovery(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<CodeIn>,
) -> Result<HttpResponse> {
    body.0.check()?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), None);
    let CodeIn { challenge_token, code } = body.0;
    enter(&accounts, (caller, address, arrival), challenge_token, Shown::Recovery(code)).await
}

async fn enter(
    accounts: &Accounts,
    (caller, address, arrival): (PublishableKey, ClientAddress, Arrival),
    token: Secret,
    shown: Shown,
) -> Result<HttpResponse> {
    let platform = accounts.platform().clone();
    let (app_id, mode, now_ms) = (caller.app_id, caller.mode, arrival.now_ms());
    let hash = challenge::token_hash(&platform, token.expose());
    let asked = hash.clone();
    let waiting = platform.store.read(move |conn| challenge::peek(conn, Kind::SecondFactor, (&asked, now_ms))).await?;
    let user = waiting.filter(|waiting| waiting.app_id == app_id && waiting.mode == mode).and_then(|waiting| waiting.user_id);
    let Some(user) = user else {
        by_address(&platform, address).await?;
        return Err(factor::over());
    };
    let attempt = Attempt::begin(&platform, app_id, &user.to_string(), address).await?;
    let write = move |conn: &mut Conn| {
        store::hold_user(conn, app_id, user)?;
        let Some(waiting) = challenge::try_token(conn, Kind::SecondFactor, (&hash, now_ms))? else {
            return Ok((Outcome::Over, Gone::default()));
        };
        let Some(method) = factor::check(conn, &platform, (app_id, user, mode), &shown)? else {
            return Ok((Outcome::Wrong, Gone::default()));
        };
        if !challenge::use_up(conn, &waiting, now_ms)? {
            return Ok((Outcome::Over, Gone::default()));
        }
        let mut entered = arrival.second(conn, waiting, method)?;
        let gone = std::mem::take(&mut entered.gone);
        Ok((Outcome::In(Box::new(entered)), gone))
    };
    let server = accounts.clone();
    // A caller who hangs up does not get around the count.
    let counted = tokio::spawn(async move {
        let outcome = server.write(app_id, write).await?;
        match &outcome {
            Outcome::Wrong => attempt.failed().await,
            Outcome::In(_) | Outcome::Over => {}
        }
        Ok::<_, Error>(outcome)
    });
    match counted.await.map_err(Error::broken)?? {
        Outcome::In(entered) => welcome(accounts, *entered),
        Outcome::Wrong => Err(factor::wrong_code()),
        Outcome::Over => Err(factor::over()),
    }
}

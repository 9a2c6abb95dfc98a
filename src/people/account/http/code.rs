//! `/v1/auth/email-code/*`: signing in, or up, by a code or a link that was mailed.

use super::presented::Presented;
use super::reset::failed;
use super::sign::{Other, anonymous_caller};
use super::{Asked, AskedOut, SessionOut, welcome};
use crate::app::PublishableKey;
use crate::config::Secret;
use crate::error::Result;
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::ChallengeId;
use crate::people::account::access::Accounts;
use crate::people::account::arrival::Arrival;
use crate::people::account::challenge::Kind;
use crate::people::account::departure::Gone;
use crate::people::account::letter::{self, Letter};
use crate::people::account::limit::Attempt;
use crate::people::account::methods::{Method, Methods};
use crate::people::account::password::check_email;
use crate::people::account::proof::{Prover, prove};
use crate::people::account::store;
use crate::store::Conn;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::Value;

/// An address.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressIn {
    #[schema(example = "ada@example.com", max_length = 254)]
    pub(super) email: String,
}

/// What was mailed: the token of the link, or the code with the id that the request for it answered.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailedSecret)]
pub struct MailedIn {
    /// `ct_…`, from the link.
    #[schema(value_type = Option<String>, max_length = 100)]
    pub(super) token: Option<Secret>,
    /// Goes with `code`.
    pub(super) challenge_id: Option<ChallengeId>,
    /// Six digits.
    #[schema(value_type = Option<String>, max_length = 20)]
    pub(super) code: Option<Secret>,
}

impl MailedIn {
    pub(super) fn parts(self) -> (Option<Secret>, Option<ChallengeId>, Option<Secret>) {
        (self.token, self.challenge_id, self.code)
    }
}

/// Mails a code and a link with which to sign in; whoever has no account gets one by using them.
///
/// # Errors
/// 400, 401, 429.
#[utoipa::path(post, path = "/v1/auth/email-code/request", tag = "auth", request_body = AddressIn, security(("publishable_key" = [])),
    responses((status = 202, body = Asked), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn request(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<AddressIn>,
) -> Result<HttpResponse> {
    let email = check_email(&body.0.email)?;
    let platform = accounts.platform().clone();
    Attempt::begin(&platform, caller.app_id, &email, address).await?;
    let locale = letter::language(request.headers());
    let sealed = letter::seal(
        &platform,
        Letter {
            app_id: caller.app_id,
            mode: caller.mode,
            kind: Kind::SignIn,
            user_id: None,
            email: email.clone(),
            state: Value::Null,
            locale,
        },
    );
    let asked = Asked::of(&sealed);
    let outbox = platform.clone();
    platform
        .store
        .write(move |conn| {
            let user = store::owner(conn, caller.app_id, &email)?;
            sealed.send(conn, &outbox, Some(user))
        })
        .await?;
    platform.mail_hint.nudge();
    Ok(HttpResponse::Accepted().json(asked))
}

/// Signs in by a code or link. With the access token of an anonymous user, what they did stays theirs.
///
/// # Errors
/// 400, 401 `invalid_secret`, 429.
#[utoipa::path(post, path = "/v1/auth/email-code/verify", tag = "auth", request_body = MailedIn,
    security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 202, body = AskedOut), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn verify(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<MailedIn>,
) -> Result<HttpResponse> {
    let presented = Presented::read(&accounts, body.0.parts())?;
    let attempt = presented.attempt(&accounts, (Some(caller.app_id), Kind::SignIn), address).await?;
    let anonymous = anonymous_caller(&accounts, (caller.app_id, caller.mode), request.headers(), Other::Left).await?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), anonymous)
        .by(&Methods::one(Method::Mail));
    let write = move |conn: &mut Conn| {
        let now_ms = arrival.now_ms();
        let found = presented.redeem(conn, (Some(caller.app_id), Kind::SignIn), now_ms)?;
        let Some(email) = found.filter(|c| c.mode == caller.mode).and_then(|c| c.email) else {
            return Ok((None, Gone::default()));
        };
        let proven = prove(conn, (caller.app_id, &email), Prover::default(), now_ms)?;
        let mut entered = match proven.user {
            Some(user) => match store::arriving(conn, caller.app_id, user)? {
                Some(user) => arrival.known(conn, user)?,
                None => return Ok((None, proven.gone)),
            },
            None => {
                arrival.hold(conn)?;
                store::own_email(conn, caller.app_id, (arrival.user_id(), &email), now_ms)?;
                arrival.new_user(conn, false)?
            }
        };
        let mut gone = proven.gone;
        gone.join(std::mem::take(&mut entered.gone));
        Ok((Some(entered), gone))
    };
    match accounts.write(caller.app_id, write).await? {
        Some(entered) => welcome(&accounts, entered),
        None => Err(failed(attempt).await),
    }
}

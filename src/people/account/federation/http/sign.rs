//! `POST /v1/auth/id-token`: a way into a session by another issuer's word.

use crate::app::{Mode, PublishableKey};
use crate::clock::MINUTE_MS;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, ClientAddress, ProblemBody};
use crate::id::UserId;
use crate::people::account::access::Accounts;
use crate::people::account::arrival::Arrival;
use crate::people::account::challenge::{self, Kind};
use crate::people::account::departure::Gone;
use crate::people::account::federation::enter::{Guest, Led, enter};
use crate::people::account::federation::{Federation, Shown};
use crate::people::account::http::sign::{Other, anonymous_caller};
use crate::people::account::http::{AskedOut, SessionOut, welcome};
use crate::people::account::limit::by_address;
use crate::people::account::methods::{Method, Methods};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

/// How long a user may take to say that an identity is theirs.
const LINK_LIFE_MS: i64 = 15 * MINUTE_MS;
/// Longest nonce and authorization code, in bytes.
const SECRET_BYTES_MAX: usize = 2_048;

/// Another issuer's word.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IdToken)]
pub struct IdTokenIn {
    /// `apple`, `google`, or the app's own name for it.
    pub(super) provider: String,
    /// The ID token, as the provider's library gave it.
    #[schema(value_type = String, max_length = 8192)]
    pub(super) id_token: Secret,
    /// The nonce that the app chose for this sign-in.
    #[schema(value_type = Option<String>, max_length = 2048)]
    pub(super) nonce: Option<Secret>,
    /// Apple's authorization code: with it Apple is told when the account is deleted.
    #[schema(value_type = Option<String>, max_length = 2048)]
    pub(super) authorization_code: Option<Secret>,
    /// Whether to make a new account although another one has the address; else the answer is 202 then.
    #[serde(default)]
    new_account: bool,
}

/// An account has the identity's address, and its user has to say whether this is them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LinkWanted)]
pub struct LinkWantedOut {
    /// For `POST /v1/me/identities`, in a fresh session of that account; once.
    link_token: String,
    /// How long that may take, in seconds.
    link_expires_in: i64,
}

/// Bounds what is shown beside the token.
pub(super) fn shown(provider: String, id_token: Secret, (nonce, code): (Option<Secret>, Option<Secret>)) -> Result<Shown> {
    for (field, secret) in [("nonce", &nonce), ("authorization_code", &code)] {
        if secret.as_ref().is_some_and(|secret| secret.expose().len() > SECRET_BYTES_MAX) {
            return Err(Error::invalid(field, "too_long", format!("may have at most {SECRET_BYTES_MAX} bytes")));
        }
    }
    Ok(Shown { provider, id_token, nonce, authorization_code: code })
}

/// Signs in, or up, with an ID token of Apple, Google or another provider that the app has set up. With the access token
/// of an anonymous user, that user gets the account, or is merged into the one there is. The answer is 202 when the
/// address belongs to an account and the provider has no authority over it: sign in to that account and link the
/// identity there, or ask for a new account. It is 202 also when the account has a second factor, which is shown next.
///
/// # Errors
/// 400, 401 `invalid_id_token`, 429, 503.
#[utoipa::path(post, path = "/v1/auth/id-token", tag = "auth", request_body = IdTokenIn,
    security(("publishable_key" = []), ("publishable_key" = [], "user_token" = [])),
    responses((status = 200, body = SessionOut), (status = 202, body = IdTokenAsked), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 429, body = ProblemBody), (status = 503, body = ProblemBody)))]
pub async fn id_token(
    caller: PublishableKey,
    accounts: web::Data<Accounts>,
    federation: web::Data<Federation>,
    address: ClientAddress,
    request: HttpRequest,
    body: Body<IdTokenIn>,
) -> Result<HttpResponse> {
    let IdTokenIn { provider, id_token, nonce, authorization_code, new_account } = body.0;
    let shown = shown(provider, id_token, (nonce, authorization_code))?;
    by_address(accounts.platform(), address).await?;
    let anonymous = anonymous_caller(&accounts, (caller.app_id, caller.mode), request.headers(), Other::Left).await?;
    let guest = federation.guest(caller.app_id, shown).await?;
    let arrival = Arrival::new(accounts.platform(), (caller.app_id, caller.mode), request.headers(), anonymous)
        .by(&Methods::one(Method::Federated));
    let platform = accounts.platform().clone();
    let write = move |conn: &mut Conn| match enter(conn, arrival, (&guest, new_account))? {
        Led::In(mut entered) => {
            let gone = std::mem::take(&mut entered.gone);
            Ok((Answer::In(entered), gone))
        }
        Led::Ask(user) => Ok((Answer::Ask(ask(conn, &platform, (&guest, caller.mode), user)?), Gone::default())),
    };
    match accounts.write(caller.app_id, write).await? {
        Answer::In(entered) => welcome(&accounts, entered),
        Answer::Ask(wanted) => {
            Ok(HttpResponse::Accepted().insert_header((CACHE_CONTROL, "no-store")).json(IdTokenAsked::Link(wanted)))
        }
    }
}

/// What an answer of 202 asks for.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum IdTokenAsked {
    /// The address is an account's: the identity is to be linked there.
    Link(LinkWantedOut),
    /// The account has a second factor.
    Factor(AskedOut),
}

enum Answer {
    In(crate::people::account::arrival::Entered),
    Ask(LinkWantedOut),
}

/// Keeps an identity until its user has said that it is theirs.
fn ask(conn: &mut Conn, platform: &Platform, (guest, mode): (&Guest, Mode), user: UserId) -> Result<LinkWantedOut> {
    let wanted = challenge::Wanted {
        app_id: guest.app_id,
        mode,
        kind: Kind::LinkIdentity,
        user_id: Some(user),
        email: None,
        state: serde_json::to_value(guest).map_err(Error::broken)?,
        life_ms: LINK_LIFE_MS,
    };
    let draft = challenge::draft(platform, wanted);
    challenge::open(conn, &draft)?;
    Ok(LinkWantedOut { link_token: draft.token.expose().to_owned(), link_expires_in: LINK_LIFE_MS / 1_000 })
}

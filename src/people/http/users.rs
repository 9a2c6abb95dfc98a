//! `/v1/users`: the app's users, for its own back end.

use super::me::UserOut;
use super::user_id;
use crate::app::{BackOffice, Scope};
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::{Body, FreeJson, IfMatch, Page, PageQuery, ProblemBody, Query, check_text, etag, given};
use crate::id::{AppId, UserId};
use crate::people::account::{self, Account, AccountPatch, Accounts, Search, check_email};
use crate::people::profile::{self, Change, NewUser, Person, Writer, Writes};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde::{Deserialize, Serialize};

/// How much of an address or an external id is looked for, in characters.
const QUERY_MIN: usize = 3;
/// At most as much of it, in characters.
const QUERY_MAX: usize = 100;

/// A user to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserIn {
    /// The name by which the app's back end knows them; unique in the app.
    #[schema(min_length = 1, max_length = 200)]
    external_id: Option<String>,
    /// Values of declared attributes.
    #[serde(default)]
    attributes: FreeJson,
    /// A language tag such as `de-CH`.
    locale: Option<String>,
    /// An IANA time zone such as `Europe/Zurich`.
    time_zone: Option<String>,
    /// The address of their account. It goes with `email_verified: true`, with a password, or with both.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// Whether you know that the address is theirs.
    #[serde(default)]
    email_verified: bool,
    /// 8 to 256 characters of any kind.
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 256)]
    password: Option<Secret>,
    /// Whether they may not come in.
    #[serde(default)]
    disabled: bool,
    /// What their access tokens say under `claims`; at most 2,000 bytes of JSON.
    claims: Option<FreeJson>,
}

/// A change of a user (JSON merge patch, and operations beside it): what is left out stays, `null` removes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// The name by which the app's back end knows them; unique in the app.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    external_id: Option<Option<String>>,
    /// Values of declared attributes; `null` removes one.
    #[serde(default)]
    attributes: FreeJson,
    /// What to add to numbers: `{"visits": 1}`. No attribute may be named in two of these four.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, f64>)]
    increment: FreeJson,
    /// What to append to lists, each text unless it is there: `{"interests": ["art"]}`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    append: FreeJson,
    /// Values for attributes that have none yet.
    #[serde(default)]
    set_once: FreeJson,
    /// A language tag such as `de-CH`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    locale: Option<Option<String>>,
    /// An IANA time zone such as `Europe/Zurich`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    time_zone: Option<Option<String>>,
    /// Another address of their account; without a new password, the old one goes. Every session ends.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Option<String>>,
    /// Whether you know that the address is theirs. The first time that it is, whoever had only claimed it loses their
    /// password, factors and identities, unless a password is set here too: the reader of its mail comes in by a code.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    email_verified: Option<bool>,
    /// A new password, 8 to 256 characters of any kind. Every session ends.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, format = Password, min_length = 8, max_length = 256)]
    password: Option<Secret>,
    /// Whether they may not come in. Their sessions end at once, and nothing is pushed to them.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    disabled: Option<bool>,
    /// What their access tokens say under `claims`, from the next token on; at most 2,000 bytes of JSON.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<FreeJson>)]
    claims: Option<Option<FreeJson>>,
}

/// A user as the app's back end sees them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UserRecord {
    #[serde(flatten)]
    profile: UserOut,
    /// Whether they may not come in.
    disabled: bool,
    /// What their access tokens say under `claims`.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<FreeJson>,
}

impl UserRecord {
    fn of(person: Person, account: Account) -> Self {
        let Account { address, disabled, claims } = account;
        Self { profile: UserOut::of(person, address), disabled, claims }
    }
}

/// Which users to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsersQuery {
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only the user with this external id.
    #[param(max_length = 200)]
    external_id: Option<String>,
    /// Only accounts with this address, proven or not.
    #[param(max_length = 254)]
    email: Option<String>,
    /// Only users whose address or external id begins so; 3 to 100 characters.
    #[param(min_length = 3, max_length = 100)]
    query: Option<String>,
    /// Only those who may not come in, or only those who may.
    disabled: Option<bool>,
    /// Only those who have not signed up yet, or only those who have.
    anonymous: Option<bool>,
}

/// Makes a user.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = UserIn, security(("server_key" = [])),
    responses((status = 201, body = UserRecord, headers(("ETag" = String), ("Location" = String))), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, accounts: web::Data<Accounts>, body: Body<UserIn>) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let Body(UserIn { external_id, attributes, locale, time_zone, email, email_verified, password, disabled, claims }) = body;
    let platform = accounts.platform();
    let (app, id) = (caller.app_id, platform.ids.next());
    let said = AccountPatch {
        email_verified: email.as_ref().map(|_| email_verified).or(email_verified.then_some(true)),
        email: email.map(Some),
        password,
        disabled: disabled.then_some(true),
        claims: claims.map(Some),
    };
    let grant = accounts.grant(app, None, said).await?;
    let now_ms = platform.clock.now_ms();
    let user = NewUser { id, external_id, anonymous: false, attributes: attributes.0, locale, time_zone, now_ms };
    let first = move |conn: &mut Conn| profile::create(conn, app, &user);
    let seen = accounts.write_granted((app, id), grant, first, move |conn| see(conn, app, id)).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, format!("/v1/users/{id}")));
    Ok(answer(response, seen))
}

/// Lists users.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(UsersQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<UserRecord>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<UsersQuery>,
) -> Result<web::Json<Page<UserRecord>>> {
    caller.need(Scope::UsersRead)?;
    let Query(UsersQuery { limit, cursor, external_id, email, query, disabled, anonymous }) = query;
    let page = PageQuery { limit, cursor };
    let (rows, after, app) = (page.rows()?, page.after().to_owned(), caller.app_id);
    if let Some(text) = &external_id {
        profile::check_external_id(text)?;
    }
    if let Some(text) = query.as_ref() {
        check_text("query", text, QUERY_MAX)?;
        if text.chars().count() < QUERY_MIN {
            return Err(Error::invalid("query", "too_short", format!("needs at least {QUERY_MIN} characters")));
        }
    }
    let email = email.as_deref().map(check_email).transpose()?;
    let wanted = Search { email, external_id, begins: query, disabled, anonymous };
    let found = platform.store.read(move |conn| {
        let ids = account::search(conn, app, &wanted, (&after, rows))?;
        let (mut people, mut accounts) = (profile::people(conn, app, &ids)?, account::accounts_of(conn, app, &ids)?);
        let seen = |id: &UserId| Some((people.remove(id)?, accounts.remove(id)?));
        Ok(ids.iter().filter_map(seen).collect::<Vec<_>>())
    });
    let item = |(person, account): (Person, Account)| UserRecord::of(person, account);
    Ok(web::Json(page.page(found.await?, |(person, _)| person.id.to_string(), item)?))
}

/// Reads a user.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = UserRecord, headers(("ETag" = String))), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersRead)?;
    let user = user_id(&path)?;
    Ok(answer(HttpResponse::Ok(), platform.store.read(move |conn| see(conn, caller.app_id, user)).await?))
}

/// Changes a user.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", request_body = UserPatch, security(("server_key" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = UserRecord, headers(("ETag" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    accounts: web::Data<Accounts>,
    path: web::Path<String>,
    if_match: IfMatch,
    body: Body<UserPatch>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let (app, user) = (caller.app_id, user_id(&path)?);
    let Body(patch) = body;
    let UserPatch { external_id, attributes, increment, append, set_once, locale, time_zone, .. } = patch;
    let UserPatch { email, email_verified, password, disabled, claims, .. } = patch;
    let grant = accounts.grant(app, Some(user), AccountPatch { email, email_verified, password, disabled, claims }).await?;
    let now_ms = accounts.platform().clock.now_ms();
    let writes = Writes { attributes: attributes.0, increment: increment.0, append: append.0, set_once: set_once.0 };
    let change = Change { writes, by: Writer::Server, locale, time_zone, external_id, now_ms };
    let first = move |conn: &mut Conn| profile::change(conn, app, (user, &if_match), &change).map(drop);
    let seen = accounts.write_granted((app, user), grant, first, move |conn| see(conn, app, user)).await?;
    Ok(answer(HttpResponse::Ok(), seen))
}

/// A user with their account.
fn see(conn: &mut Conn, app: AppId, user: UserId) -> Result<(Person, Account)> {
    let account = account::accounts_of(conn, app, &[user])?.remove(&user);
    Ok((profile::person(conn, app, user)?, account.unwrap_or_default()))
}

/// A record with its revision as ETag.
fn answer(mut response: HttpResponseBuilder, (person, account): (Person, Account)) -> HttpResponse {
    response.insert_header(etag(person.revision)).json(UserRecord::of(person, account))
}

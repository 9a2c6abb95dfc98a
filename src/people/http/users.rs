//! `/v1/users`: the app's users, for its own back end.

use super::me::{UserOut, answer};
use super::user_id;
use crate::app::{BackOffice, Scope};
use crate::error::Result;
use crate::http::{Body, FreeJson, IfMatch, Page, PageQuery, ProblemBody, Query, given};
use crate::id::UserId;
use crate::people::profile::{self, Change, NewUser, Writer, Writes};
use crate::platform::Platform;
use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

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
    external_id: Option<String>,
}

/// Makes a user.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/users", tag = "users", request_body = UserIn, security(("server_key" = [])),
    responses((status = 201, body = UserOut, headers(("ETag" = String), ("Location" = String))), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<UserIn>) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let Body(UserIn { external_id, attributes, locale, time_zone }) = body;
    let id: UserId = platform.ids.next();
    let now_ms = platform.clock.now_ms();
    let user = NewUser { id, external_id, anonymous: false, attributes: attributes.0, locale, time_zone, now_ms };
    let person = platform.store.write(move |conn| {
        profile::create(conn, caller.app_id, &user)?;
        profile::person(conn, caller.app_id, id)
    });
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, format!("/v1/users/{id}")));
    Ok(answer(response, person.await?))
}

/// Lists users.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/users", tag = "users", params(UsersQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<UserOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<UsersQuery>,
) -> Result<web::Json<Page<UserOut>>> {
    caller.need(Scope::UsersRead)?;
    let Query(UsersQuery { limit, cursor, external_id }) = query;
    let page = PageQuery { limit, cursor };
    let (rows, after, app) = (page.rows()?, page.after().to_owned(), caller.app_id);
    if let Some(text) = &external_id {
        crate::http::check_text("external_id", text, 200)?;
    }
    let people = platform.store.read(move |conn| match external_id {
        None => profile::list(conn, app, (&after, rows)),
        Some(external_id) => {
            let ids: Vec<UserId> = profile::resolve_external(conn, app, &[external_id])?.into_values().collect();
            Ok(profile::people(conn, app, &ids)?.into_values().collect())
        }
    });
    Ok(web::Json(page.page(people.await?, |person| person.id.to_string(), UserOut::from)?))
}

/// Reads a user.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = UserOut, headers(("ETag" = String))), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersRead)?;
    let user = user_id(&path)?;
    let person = platform.store.read(move |conn| profile::person(conn, caller.app_id, user)).await?;
    Ok(answer(HttpResponse::Ok(), person))
}

/// Changes a user.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", request_body = UserPatch, security(("server_key" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = UserOut, headers(("ETag" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    if_match: IfMatch,
    body: Body<UserPatch>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    let user = user_id(&path)?;
    let Body(UserPatch { external_id, attributes, increment, append, set_once, locale, time_zone }) = body;
    let now_ms = platform.clock.now_ms();
    let writes = Writes { attributes: attributes.0, increment: increment.0, append: append.0, set_once: set_once.0 };
    let change = Change { writes, by: Writer::Server, locale, time_zone, external_id, now_ms };
    let done = platform.store.write(move |conn| profile::change(conn, caller.app_id, (user, &if_match), &change));
    Ok(answer(HttpResponse::Ok(), done.await?))
}

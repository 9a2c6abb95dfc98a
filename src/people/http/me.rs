//! `/v1/me`: the user's own profile.

use crate::clock::Time;
use crate::error::Result;
use crate::http::{Body, FreeJson, IfMatch, ProblemBody, etag, given};
use crate::id::UserId;
use crate::people::account::{UserToken, address_of, person_of};
use crate::people::profile::{self, Change, Person, Writer, Writes};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// A user's profile.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub struct UserOut {
    pub(super) id: UserId,
    /// The name by which the app's back end knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// Whether they have not signed up yet.
    anonymous: bool,
    /// Values of declared attributes.
    attributes: FreeJson,
    /// The language that they chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    /// The time zone that they chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// The zone in which their local times are read: the chosen one, else the latest device's; absent for the app's.
    #[serde(skip_serializing_if = "String::is_empty")]
    zone: String,
    /// The address of their account.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// Whether they have shown that they read its mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    created_at: Time,
    updated_at: Time,
}

impl UserOut {
    pub(super) fn of(person: Person, address: Option<(String, bool)>) -> Self {
        let (email, email_verified) = address.unzip();
        Self {
            id: person.id,
            external_id: person.external_id,
            anonymous: person.anonymous,
            attributes: FreeJson(person.attributes),
            locale: person.locale,
            time_zone: person.time_zone,
            zone: person.zone,
            email,
            email_verified,
            created_at: Time(person.created_ms),
            updated_at: Time(person.updated_ms),
        }
    }
}

/// A change of one's own profile (JSON merge patch, and operations beside it): what is left out stays, `null` removes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MePatch {
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

/// A profile with its revision as ETag.
fn answer((person, address): (Person, Option<(String, bool)>)) -> HttpResponse {
    HttpResponse::Ok().insert_header(etag(person.revision)).json(UserOut::of(person, address))
}

/// Reads one's own profile.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/me", tag = "me", security(("user_token" = [])),
    responses((status = 200, body = UserOut, headers(("ETag" = String))), (status = 401, body = ProblemBody)))]
pub async fn read(caller: UserToken, platform: web::Data<Platform>) -> Result<HttpResponse> {
    let (app, user) = (caller.app_id, caller.user_id);
    Ok(answer(platform.store.ask(move |conn| person_of(conn, app, user)).await?))
}

/// Changes one's own profile.
///
/// # Errors
/// 400, 401, 412.
#[utoipa::path(patch, path = "/v1/me", tag = "me", request_body = MePatch, security(("user_token" = [])),
    params(("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = UserOut, headers(("ETag" = String))), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch(
    caller: UserToken,
    platform: web::Data<Platform>,
    if_match: IfMatch,
    body: Body<MePatch>,
) -> Result<HttpResponse> {
    let Body(MePatch { attributes, increment, append, set_once, locale, time_zone }) = body;
    let now_ms = platform.clock.now_ms();
    let writes = Writes { attributes: attributes.0, increment: increment.0, append: append.0, set_once: set_once.0 };
    let change = Change { writes, by: Writer::User, locale, time_zone, external_id: None, now_ms };
    let (app, user) = (caller.app_id, caller.user_id);
    let write =
        move |conn: &mut Conn| Ok((profile::change(conn, app, (user, &if_match), &change)?, address_of(conn, app, user)?));
    Ok(answer(platform.store.write(write).await?))
}

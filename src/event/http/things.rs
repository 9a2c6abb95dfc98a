//! `/v1/things`: event sources that are no people.

use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::event::resolve::tracks;
use crate::event::store::{self, Thing};
use crate::http::PageQuery;
use crate::http::{Body, FreeJson, Page, ProblemBody, Query, check_text, given};
use crate::id::{AppId, ThingId};
use crate::place;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest key, in characters.
const KEY_MAX: usize = 200;
/// Longest JSON of a thing's properties, in bytes.
const PROPERTIES_BYTES_MAX: usize = 65_536;
/// Most properties that can be set at once.
const PROPERTIES_MAX: usize = 200;

/// A thing with its last known properties.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Thing)]
pub struct ThingOut {
    id: ThingId,
    /// The app's own name for it.
    key: String,
    /// What kind of thing it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    properties: FreeJson,
    /// Its newest event.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_at: Option<Time>,
    created_at: Time,
}

/// A thing to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThingIn {
    /// The app's own name for it, unique in the app; events name it as `thing:<key>`.
    #[schema(min_length = 1, max_length = 200)]
    key: String,
    /// What kind of thing it is, e.g. `aircraft`.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    class: Option<String>,
    /// What is known of it now; its events tell the rest.
    #[serde(default)]
    properties: FreeJson,
}

/// A change of a thing: what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThingPatch {
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    class: Option<Option<String>>,
    /// Merged into the properties; `null` removes one.
    #[serde(default)]
    properties: FreeJson,
}

/// Which things to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ThingsQuery {
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only the thing with this key.
    key: Option<String>,
}

impl From<Thing> for ThingOut {
    fn from(thing: Thing) -> Self {
        Self {
            id: thing.id,
            key: thing.key,
            class: thing.class,
            properties: FreeJson(thing.properties),
            seen_at: thing.seen_ms.map(Time),
            created_at: Time(thing.created_ms),
        }
    }
}

/// Finds a thing by what stands in a URL: its id, or `thing:` and its key.
pub(super) fn find(conn: &mut Conn, app: AppId, text: &str) -> Result<Thing> {
    let found = match text.strip_prefix("thing:") {
        Some(key) if !key.contains('\0') => store::things_by_keys(conn, app, &[key])?.pop(),
        Some(_) => None,
        None => match text.parse::<ThingId>() {
            Ok(id) => store::things_by_ids(conn, app, &[id])?.pop(),
            Err(_) => None,
        },
    };
    found.ok_or_else(|| Error::not_found("thing"))
}

/// Makes a thing.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/things", tag = "things", request_body = ThingIn, security(("server_key" = [])),
    responses((status = 201, body = ThingOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<ThingIn>) -> Result<HttpResponse> {
    caller.need(Scope::ThingsWrite)?;
    let Body(ThingIn { key, class, properties }) = body;
    check_text("key", &key, KEY_MAX)?;
    class.as_deref().map_or(Ok(()), |class| check_text("class", class, 100))?;
    check_properties(&properties)?;
    let thing = Thing {
        id: platform.ids.next(),
        key,
        class,
        properties: properties.0,
        held: BTreeMap::new(),
        seen_ms: None,
        created_ms: platform.clock.now_ms(),
    };
    let made = thing.clone();
    platform.store.write(move |conn| store::insert_things(conn, caller.app_id, &[made])).await?;
    Ok(HttpResponse::Created().json(ThingOut::from(thing)))
}

fn check_properties(properties: &FreeJson) -> Result<()> {
    if properties.0.len() > PROPERTIES_MAX {
        return Err(Error::invalid("properties", "too_long", format!("at most {PROPERTIES_MAX} properties")));
    }
    // All of them are read and written with every event of the thing.
    if serde_json::to_string(properties).map_or(usize::MAX, |json| json.len()) > PROPERTIES_BYTES_MAX {
        return Err(Error::invalid("properties", "too_long", format!("at most {PROPERTIES_BYTES_MAX} bytes of JSON")));
    }
    Ok(())
}

/// Reads a thing, by id or as `thing:<key>`.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/things/{id}", tag = "things", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = ThingOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<ThingOut>> {
    caller.need(Scope::ThingsRead)?;
    let found = platform.store.read(move |conn| find(conn, caller.app_id, &path)).await?;
    Ok(web::Json(found.into()))
}

/// Lists things.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/things", tag = "things", params(ThingsQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<ThingOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<ThingsQuery>,
) -> Result<web::Json<Page<ThingOut>>> {
    caller.need(Scope::ThingsRead)?;
    let Query(ThingsQuery { limit, cursor, key }) = query;
    let page = PageQuery { limit, cursor };
    let (rows, after) = (page.rows()?, page.after().to_owned());
    key.as_deref().map_or(Ok(()), |key| check_text("key", key, KEY_MAX))?;
    let found = platform.store.read(move |conn| match key {
        Some(key) => store::things_by_keys(conn, caller.app_id, &[&key]),
        None => store::thing_page(conn, caller.app_id, (&after, rows)),
    });
    Ok(web::Json(page.page(found.await?, |thing| thing.id.to_string(), ThingOut::from)?))
}

/// Changes what is known of a thing, without any event.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(patch, path = "/v1/things/{id}", tag = "things", params(("id" = String, Path)), request_body = ThingPatch,
    security(("server_key" = [])),
    responses((status = 200, body = ThingOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<ThingPatch>,
) -> Result<web::Json<ThingOut>> {
    caller.need(Scope::ThingsWrite)?;
    let Body(ThingPatch { class, properties }) = body;
    class.iter().flatten().try_for_each(|class| check_text("class", class, 100))?;
    check_properties(&properties)?;
    let app = caller.app_id;
    let thing = platform.store.write(move |conn| {
        store::lock(conn, app)?;
        let mut thing = find(conn, app, &path)?;
        if let Some(class) = class {
            thing.class = class;
        }
        for (key, value) in properties.0 {
            if value.is_null() {
                thing.properties.remove(&key);
            } else {
                thing.properties.insert(key, value);
            }
        }
        check_properties(&FreeJson(thing.properties.clone()))?;
        store::put_thing(conn, app, &thing)?;
        Ok(thing)
    });
    Ok(web::Json(thing.await?.into()))
}

/// Forgets a thing, its links and its position. Its events stay in the log.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/things/{id}", tag = "things", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::ThingsWrite)?;
    let app = caller.app_id;
    let gone = platform.store.write(move |conn| {
        store::lock(conn, app)?;
        let thing = find(conn, app, &path)?;
        place::forget(conn, app, &tracks(thing.id))?;
        store::delete_thing(conn, app, thing.id)
    });
    gone.await?;
    Ok(HttpResponse::NoContent().finish())
}

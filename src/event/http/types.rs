//! `/v1/event-types`: what an app declares of its events.

use crate::app::{BackOffice, Scope};
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Result};
use crate::event::item::check_kind;
use crate::event::schema::{TYPES_TOPIC, compile};
use crate::event::store::{self, TypeRow};
use crate::http::{Body, FreeJson, Page, PageQuery, ProblemBody, Query, given};
use crate::platform::Platform;
use crate::store::Doc;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest useful age, in milliseconds.
const AGE_MAX_MS: i64 = 366 * DAY_MS;

/// A declared type.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = EventType)]
pub struct TypeOut {
    #[serde(rename = "type")]
    kind: String,
    /// What the properties must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<FreeJson>,
    /// Older events are recorded and never acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_useful_age_ms: Option<i64>,
    /// Whether a moment kind is triggered by it.
    listened: bool,
    created_at: Time,
    updated_at: Time,
}

/// What to declare; what is left out is not declared.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventTypeIn)]
pub struct TypeIn {
    /// JSON Schema (2020-12) of the properties; no references outside itself.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    schema: Option<FreeJson>,
    /// How old an event may be when it is judged, in milliseconds; exactly this is still useful.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 31622400000_i64)]
    max_useful_age_ms: Option<i64>,
}

impl From<TypeRow> for TypeOut {
    fn from(row: TypeRow) -> Self {
        let schema = row.json_schema.and_then(|doc| match doc.0 {
            Value::Object(map) => Some(FreeJson(map)),
            _ => None,
        });
        Self {
            kind: row.type_,
            schema,
            max_useful_age_ms: row.max_useful_age_ms,
            listened: row.listened,
            created_at: Time(row.created_ms),
            updated_at: Time(row.updated_ms),
        }
    }
}

/// Declares a type, or declares it anew.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(put, path = "/v1/event-types/{type}", tag = "events", params(("type" = String, Path)), request_body = TypeIn,
    security(("server_key" = [])),
    responses((status = 200, body = TypeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn put(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<TypeIn>,
) -> Result<web::Json<TypeOut>> {
    caller.need(Scope::SchemaWrite)?;
    let Body(TypeIn { schema, max_useful_age_ms }) = body;
    let kind = path.into_inner();
    check_kind("type", &kind)?;
    if max_useful_age_ms.is_some_and(|ms| !(0..=AGE_MAX_MS).contains(&ms)) {
        return Err(Error::invalid("max_useful_age_ms", "out_of_range", format!("must be 0 to {AGE_MAX_MS}")));
    }
    let json_schema = schema.map(|schema| Value::Object(schema.0));
    let json_schema = match json_schema {
        // Compiling takes its time: not on a thread that others wait for.
        Some(schema) => Some(web::block(move || compile(&schema).map(|_| Doc(schema))).await.map_err(Error::broken)??),
        None => None,
    };
    let (app, now_ms) = (caller.app_id, platform.clock.now_ms());
    let row =
        TypeRow { type_: kind.clone(), json_schema, max_useful_age_ms, listened: false, created_ms: now_ms, updated_ms: now_ms };
    let row = platform.write_and_tell((TYPES_TOPIC, app.to_string()), move |conn| {
        store::put_type(conn, app, &row)?;
        store::types(conn, app, &[kind])?.pop().ok_or_else(|| Error::broken("a type vanished while it was written"))
    });
    Ok(web::Json(row.await?.into()))
}

/// Reads a declared type.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/event-types/{type}", tag = "events", params(("type" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = TypeOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<TypeOut>> {
    caller.need(Scope::SchemaRead)?;
    check_kind("type", &path).map_err(|_| Error::not_found("event type"))?;
    let kind = path.into_inner();
    let row = platform.store.read(move |conn| store::types(conn, caller.app_id, &[kind])).await?.pop();
    row.map(|row| web::Json(row.into())).ok_or_else(|| Error::not_found("event type"))
}

/// Lists the declared types, by name.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/event-types", tag = "events", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<TypeOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(caller: BackOffice, platform: web::Data<Platform>, page: Query<PageQuery>) -> Result<web::Json<Page<TypeOut>>> {
    caller.need(Scope::SchemaRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| store::type_page(conn, caller.app_id, (&after, rows))).await?;
    Ok(web::Json(page.0.page(found, |row| row.type_.clone(), TypeOut::from)?))
}

/// Forgets what was declared of a type. Its events go on being recorded, and triggering what they trigger.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/event-types/{type}", tag = "events", params(("type" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::SchemaWrite)?;
    check_kind("type", &path).map_err(|_| Error::not_found("event type"))?;
    let (app, kind) = (caller.app_id, path.into_inner());
    let gone = platform.write_and_tell((TYPES_TOPIC, app.to_string()), move |conn| {
        if store::types(conn, app, std::slice::from_ref(&kind))?.is_empty() {
            return Err(Error::not_found("event type"));
        }
        store::delete_type(conn, app, &kind)
    });
    gone.await?;
    Ok(HttpResponse::NoContent().finish())
}

//! `/v1/topics`: the subjects on which an app sends messages.

use super::preferences::TopicOut;
use super::rows_of;
use crate::app::{BackOffice, Scope};
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, given};
use crate::people::profile::{self, Topic};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

/// A topic to declare.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicIn {
    /// A lower-case letter, then up to 63 of a-z, 0-9, _, -, .
    #[schema(pattern = "^[a-z][a-z0-9_.-]{0,63}$")]
    key: String,
    /// For people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Whether it is on for those who said nothing; off when left out.
    #[serde(default)]
    default_on: bool,
    /// Whether it carries service messages and cannot be switched off. It stays so.
    #[serde(default)]
    critical: bool,
}

/// A change of a topic.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    default_on: Option<bool>,
}

/// Declares a topic.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/topics", tag = "schema", request_body = TopicIn, security(("server_key" = [])),
    responses((status = 201, body = TopicOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<TopicIn>) -> Result<HttpResponse> {
    caller.need(Scope::SchemaWrite)?;
    let Body(TopicIn { key, name, default_on, critical }) = body;
    let topic = Topic { key, name, default_on, critical, created_ms: platform.clock.now_ms() };
    let done = platform.store.write(move |conn| profile::declare_topic(conn, caller.app_id, &topic).map(|()| topic));
    Ok(HttpResponse::Created().json(TopicOut::from(done.await?)))
}

/// Lists the topics.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/topics", tag = "schema", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<TopicOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<TopicOut>>> {
    caller.need(Scope::SchemaRead)?;
    page.0.rows()?;
    let topics = platform.store.read(move |conn| profile::topics(conn, caller.app_id)).await?;
    let rows = rows_of(&page.0, topics.0.into_values().collect(), |topic: &Topic| topic.key.clone())?;
    Ok(web::Json(page.0.page(rows, |topic| topic.key.clone(), TopicOut::from)?))
}

/// Reads a topic.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/topics/{key}", tag = "schema", params(("key" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = TopicOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<TopicOut>> {
    caller.need(Scope::SchemaRead)?;
    let mut topics = platform.store.read(move |conn| profile::topics(conn, caller.app_id)).await?;
    let topic = topics.0.remove(path.as_str()).ok_or_else(|| Error::not_found("topic"))?;
    Ok(web::Json(topic.into()))
}

/// Changes a topic's name and default.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(patch, path = "/v1/topics/{key}", tag = "schema", params(("key" = String, Path)), request_body = TopicPatch, security(("server_key" = [])),
    responses((status = 200, body = TopicOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<TopicPatch>,
) -> Result<web::Json<TopicOut>> {
    caller.need(Scope::SchemaWrite)?;
    let (key, Body(TopicPatch { name, default_on })) = (path.into_inner(), body);
    let done = platform.store.write(move |conn| profile::change_topic(conn, caller.app_id, &key, (name, default_on)));
    Ok(web::Json(done.await?.into()))
}

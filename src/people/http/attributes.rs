//! `/v1/attributes`: the typed attributes of users and things that an app declares.

use super::rows_of;
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, given, unique_keys};
use crate::people::profile::{self, Attribute, AttributeChange, AttributeKind, AttributeScope, Writers};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Texts by language.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(as = QuestionTexts)]
struct Texts(#[serde(deserialize_with = "unique_keys")] BTreeMap<String, String>);

/// An attribute to declare. Its kind stays. Everything from `pii` to `options` is for users' attributes alone.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeIn {
    /// Whose attribute it is.
    scope: AttributeScope,
    /// Its name in rules and templates.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,63}$")]
    key: String,
    /// The type of its values.
    kind: AttributeKind,
    /// Its name for people.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Whether it says who somebody is.
    #[serde(default)]
    pii: bool,
    /// The purpose needed to read it: while a user has not agreed to it (with the partner, for a partner's offer), rules
    /// and templates see the attribute as missing.
    purpose: Option<String>,
    /// Who may write it.
    #[serde(default)]
    writers: Writers,
    /// How users are asked for it, by language: `{"en": "How do you travel?"}`. Without one they are not.
    question: Option<Texts>,
    /// The only values that it takes, or of a list the only items.
    #[schema(value_type = Option<Vec<Object>>)]
    options: Option<Vec<Value>>,
    /// Of things: how long a value must have been held for its change to count, in milliseconds, up to 7 days.
    #[schema(minimum = 0, maximum = 604800000_i64)]
    settle_ms: Option<i64>,
}

/// A declared attribute.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Attribute)]
pub struct AttributeOut {
    scope: AttributeScope,
    key: String,
    kind: AttributeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    pii: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    writers: Writers,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    options: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settle_ms: Option<i64>,
    created_at: Time,
}

impl From<Attribute> for AttributeOut {
    fn from(attribute: Attribute) -> Self {
        let Attribute { scope, key, kind, name, pii, purpose, writers, question, options, settle_ms, created_ms } = attribute;
        Self { scope, key, kind, name, pii, purpose, writers, question, options, settle_ms, created_at: Time(created_ms) }
    }
}

/// A change of an attribute: what is left out stays, `null` removes. Values that users have already stay.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributePatch {
    /// Its name for people.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    name: Option<Option<String>>,
    /// Whether it says who somebody is.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pii: Option<bool>,
    /// The purpose needed to read it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    purpose: Option<Option<String>>,
    /// Who may write it.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    writers: Option<Writers>,
    /// How users are asked for it; all texts at once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Texts>)]
    question: Option<Option<Texts>>,
    /// The only values from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Object>>)]
    options: Option<Option<Vec<Value>>>,
    /// `null` lets every change count at once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 604800000_i64)]
    settle_ms: Option<Option<i64>>,
}

fn cursor(attribute: &Attribute) -> String {
    format!("{}.{}", attribute.scope.name(), attribute.key)
}

/// Declares an attribute.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/attributes", tag = "schema", request_body = AttributeIn, security(("server_key" = [])),
    responses((status = 201, body = AttributeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<AttributeIn>) -> Result<HttpResponse> {
    caller.need(Scope::SchemaWrite)?;
    let Body(AttributeIn { scope, key, kind, name, pii, purpose, writers, question, options, settle_ms }) = body;
    let (question, created_ms) = (question.map(|texts| texts.0), platform.clock.now_ms());
    let attribute = Attribute { scope, key, kind, name, pii, purpose, writers, question, options, settle_ms, created_ms };
    let done = platform.store.write(move |conn| profile::declare_attribute(conn, caller.app_id, &attribute).map(|()| attribute));
    Ok(HttpResponse::Created().json(AttributeOut::from(done.await?)))
}

/// Lists the declared attributes of users and things.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/attributes", tag = "schema", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<AttributeOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<AttributeOut>>> {
    caller.need(Scope::SchemaRead)?;
    page.0.rows()?;
    let mut all = platform.store.read(move |conn| profile::attributes(conn, caller.app_id)).await?;
    all.sort_by_key(cursor);
    let rows = rows_of(&page.0, all, cursor)?;
    Ok(web::Json(page.0.page(rows, cursor, AttributeOut::from)?))
}

/// Changes everything of an attribute but its key and kind.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(patch, path = "/v1/attributes/{scope}/{key}", tag = "schema", request_body = AttributePatch, security(("server_key" = [])),
    params(("scope" = AttributeScope, Path), ("key" = String, Path)),
    responses((status = 200, body = AttributeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<AttributePatch>,
) -> Result<web::Json<AttributeOut>> {
    caller.need(Scope::SchemaWrite)?;
    let (scope, key) = path.into_inner();
    let scope = AttributeScope::named(&scope).ok_or_else(|| Error::not_found("attribute"))?;
    let Body(AttributePatch { name, pii, purpose, writers, question, options, settle_ms }) = body;
    let question = question.map(|texts| texts.map(|texts| texts.0));
    let change = AttributeChange { name, pii, purpose, writers, question, options, settle_ms };
    let done = platform.store.write(move |conn| profile::change_attribute(conn, caller.app_id, (scope, &key), change));
    Ok(web::Json(done.await?.into()))
}

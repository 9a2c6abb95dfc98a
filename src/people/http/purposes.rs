//! `/v1/purposes`: what an app wants consent for, and the versions of the texts that it shows.

use super::rows_of;
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Problem, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, unique_keys};
use crate::people::check;
use crate::people::consent::{self, BUILT_IN, Basis, Declared, Text};
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most purposes of an app, and most text versions of a purpose.
const DECLARED_LIMIT: usize = 200;
/// Most languages of a text.
const LANGUAGES_LIMIT: usize = 50;
/// Longest text, in characters.
const TEXT_LIMIT: usize = 4_000;

/// A purpose to declare, with its first text. Its basis stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurposeIn {
    /// A lower-case letter, then up to 63 of a-z, 0-9, _, -, .
    #[schema(pattern = "^[a-z][a-z0-9_.-]{0,63}$")]
    key: String,
    /// For people.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    basis: Basis,
    /// The name of the first text version.
    #[schema(min_length = 1, max_length = 64)]
    version: String,
    /// The text by locale.
    #[serde(deserialize_with = "unique_keys")]
    texts: BTreeMap<String, String>,
}

/// A new name for people.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurposePatch {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// A purpose.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Purpose)]
pub struct PurposeOut {
    key: String,
    /// For people.
    name: String,
    basis: Basis,
    /// The text to show now.
    text_version: String,
    /// Whether every app has it.
    built_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Time>,
}

/// A text version to publish.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionIn {
    #[schema(min_length = 1, max_length = 64)]
    version: String,
    /// The text by locale.
    #[serde(deserialize_with = "unique_keys")]
    texts: BTreeMap<String, String>,
    /// Whether what was granted for older versions stops to count: everybody has to be asked again.
    #[serde(default)]
    re_ask: bool,
}

/// A published text version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PurposeVersion)]
pub struct VersionOut {
    purpose: String,
    version: String,
    texts: BTreeMap<String, String>,
    re_ask: bool,
    /// Absent for built-in texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Time>,
}

impl From<Text> for VersionOut {
    fn from(text: Text) -> Self {
        let Text { purpose, version, texts, re_ask, published_ms } = text;
        Self { purpose, version, texts, re_ask, published_at: (published_ms > 0).then_some(Time(published_ms)) }
    }
}

fn out(purpose: Declared, purposes: &consent::Purposes) -> PurposeOut {
    PurposeOut {
        text_version: purposes.get(&purpose.key).map(|p| p.current().to_owned()).unwrap_or_default(),
        built_in: BUILT_IN.iter().any(|b| b.key == purpose.key),
        created_at: (purpose.created_ms > 0).then_some(Time(purpose.created_ms)),
        key: purpose.key,
        name: purpose.name,
        basis: purpose.basis,
    }
}

fn check_texts(version: &str, texts: &BTreeMap<String, String>) -> Result<()> {
    check_text("version", version, 64)?;
    if texts.is_empty() {
        return Err(Error::invalid("texts", "required", "a version has a text in at least one language"));
    }
    if texts.len() > LANGUAGES_LIMIT {
        return Err(Error::invalid("texts", "too_long", format!("may have at most {LANGUAGES_LIMIT} languages")));
    }
    for (locale, text) in texts {
        check::locale("texts", locale)?;
        let field = format!("texts.{locale}");
        if text.chars().count() > TEXT_LIMIT {
            return Err(Error::invalid(field, "too_long", format!("may have at most {TEXT_LIMIT} characters")));
        }
        // Lines and tabs are part of a text; other control characters are not.
        if text.trim().is_empty() || text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(Error::invalid(field, "invalid", "must not be blank or hold control characters"));
        }
    }
    Ok(())
}

/// Declares a purpose with its first text.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/purposes", tag = "schema", request_body = PurposeIn, security(("server_key" = [])),
    responses((status = 201, body = PurposeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<PurposeIn>) -> Result<HttpResponse> {
    caller.need(Scope::SchemaWrite)?;
    let Body(PurposeIn { key, name, basis, version, texts }) = body;
    check::key("key", &key)?;
    check_text("name", &name, 100)?;
    check_texts(&version, &texts)?;
    let now_ms = platform.clock.now_ms();
    let text = Text { purpose: key.clone(), version, texts, re_ask: false, published_ms: now_ms };
    let purpose = Declared { key, name, basis, created_ms: now_ms };
    let done = platform.store.write(move |conn| {
        room_for_more(consent::declared(conn, caller.app_id)?.len())?;
        consent::declare(conn, caller.app_id, &purpose, &text)?;
        Ok(out(purpose, &consent::purposes(conn, caller.app_id)?))
    });
    Ok(HttpResponse::Created().json(done.await?))
}

fn room_for_more(count: usize) -> Result<()> {
    if count < DECLARED_LIMIT {
        return Ok(());
    }
    Err(Problem::new(409, "too_many", format!("There may be at most {DECLARED_LIMIT}.")).into())
}

/// Lists the purposes, the built-in ones included.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/purposes", tag = "schema", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<PurposeOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<PurposeOut>>> {
    caller.need(Scope::SchemaRead)?;
    page.0.rows()?;
    let app = caller.app_id;
    let found = platform.store.read(move |conn| Ok((consent::declared(conn, app)?, consent::purposes(conn, app)?)));
    let (declared, purposes) = found.await?;
    let rows = rows_of(&page.0, declared, |purpose| purpose.key.clone())?;
    Ok(web::Json(page.0.page(rows, |purpose| purpose.key.clone(), |purpose| out(purpose, &purposes))?))
}

/// Reads a purpose.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/purposes/{key}", tag = "schema", params(("key" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = PurposeOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<PurposeOut>> {
    caller.need(Scope::SchemaRead)?;
    let key = known_key(path)?;
    Ok(web::Json(platform.store.read(move |conn| one(conn, caller.app_id, &key)).await?))
}

fn one(conn: &mut crate::store::Conn, app: crate::id::AppId, key: &str) -> Result<PurposeOut> {
    let found = consent::declared(conn, app)?.into_iter().find(|purpose| purpose.key == key);
    Ok(out(found.ok_or_else(|| Error::not_found("purpose"))?, &consent::purposes(conn, app)?))
}

fn known_key(path: web::Path<String>) -> Result<String> {
    let key = path.into_inner();
    check::key("key", &key).map_err(|_| Error::not_found("purpose"))?;
    Ok(key)
}

/// Gives a purpose another name for people. Built-in ones keep theirs.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(patch, path = "/v1/purposes/{key}", tag = "schema", params(("key" = String, Path)), request_body = PurposePatch, security(("server_key" = [])),
    responses((status = 200, body = PurposeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<PurposePatch>,
) -> Result<web::Json<PurposeOut>> {
    caller.need(Scope::SchemaWrite)?;
    let (key, name) = (known_key(path)?, body.0.name);
    check_text("name", &name, 100)?;
    let done = platform.store.write(move |conn| {
        consent::rename(conn, caller.app_id, &key, &name)?;
        one(conn, caller.app_id, &key)
    });
    Ok(web::Json(done.await?))
}

/// Publishes a new text version. With `re_ask` nothing that was granted for older versions counts from this answer on.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/purposes/{key}/versions", tag = "schema", params(("key" = String, Path)), request_body = VersionIn, security(("server_key" = [])),
    responses((status = 201, body = VersionOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn publish(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<VersionIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::SchemaWrite)?;
    let (key, Body(VersionIn { version, texts, re_ask })) = (known_key(path)?, body);
    check_texts(&version, &texts)?;
    let text = Text { purpose: key, version, texts, re_ask, published_ms: platform.clock.now_ms() };
    let write = move |conn: &mut Conn| {
        room_for_more(consent::texts(conn, caller.app_id, Some(&text.purpose))?.len())?;
        let done = consent::publish(conn, caller.app_id, &text)?;
        Ok((done, if re_ask { Whose::All } else { Whose::Users(Vec::new()) }))
    };
    let done = platform.write_and_fence(caller.app_id, write, |_| ()).await?;
    Ok(HttpResponse::Created().json(VersionOut::from(done)))
}

/// Lists the text versions of a purpose, oldest first.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/purposes/{key}/versions", tag = "schema", params(("key" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<VersionOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn versions(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<VersionOut>>> {
    caller.need(Scope::SchemaRead)?;
    page.0.rows()?;
    let key = known_key(path)?;
    let texts = platform.store.read(move |conn| {
        one(conn, caller.app_id, &key)?;
        consent::texts(conn, caller.app_id, Some(&key))
    });
    // Versions have no order by name: the cursor is the place in the list, with zeros in front.
    let numbered: Vec<(String, Text)> = texts.await?.into_iter().enumerate().map(|(n, text)| (format!("{n:06}"), text)).collect();
    let rows = rows_of(&page.0, numbered, |(place, _)| place.clone())?;
    Ok(web::Json(page.0.page(rows, |(place, _)| place.clone(), |(_, text)| text.into())?))
}

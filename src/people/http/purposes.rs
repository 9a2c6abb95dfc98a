//! `/v1/purposes`: what an app wants consent for, and the versions of the texts that it shows.

use super::rows_of;
use crate::app::{BackOffice, Scope, check_jurisdiction};
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Problem, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, given, unique_keys};
use crate::id::AppId;
use crate::people::check;
use crate::people::consent::{self, BUILT_IN, Basis, CATEGORIES, Class, Declared, Local, Text};
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most purposes of an app, and most text versions of a purpose.
const DECLARED_LIMIT: usize = 200;
/// Most languages of a text.
const LANGUAGES_LIMIT: usize = 50;
/// Longest text, in characters.
const TEXT_LIMIT: usize = 4_000;
/// Most jurisdictions in which a version differs.
const JURISDICTIONS_LIMIT: usize = 100;
/// Most kinds of personal data of a purpose.
const DATA_LIMIT: usize = 50;
/// How long a grant may count, in milliseconds: a minute to ten years.
const VALID_MS: std::ops::RangeInclusive<i64> = 60_000..=3_660 * DAY_MS;

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
    /// How long a grant for this text counts, in milliseconds; left out: until it is withdrawn.
    #[schema(minimum = 60_000)]
    valid_ms: Option<i64>,
    /// What differs by jurisdiction: a country (`DE`) or a part of one (`US-CA`).
    #[serde(default, deserialize_with = "unique_keys")]
    jurisdictions: BTreeMap<String, Local>,
    /// Purpose classes of the Data Privacy Vocabulary, such as `ServicePersonalisation`.
    #[serde(default)]
    categories: BTreeSet<String>,
    /// The kinds of personal data that it is about, for receipts.
    #[serde(default)]
    personal_data: BTreeSet<String>,
    /// Whether it sells personal data or shares them with others: Global Privacy Control withdraws it.
    #[serde(default)]
    sale_or_share: bool,
}

/// What changes of a purpose; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurposePatch {
    /// For people.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    categories: Option<BTreeSet<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    personal_data: Option<BTreeSet<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    sale_or_share: Option<bool>,
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
    categories: BTreeSet<String>,
    personal_data: BTreeSet<String>,
    sale_or_share: bool,
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
    /// How long a grant for this text counts, in milliseconds; left out: until it is withdrawn.
    #[schema(minimum = 60_000)]
    valid_ms: Option<i64>,
    /// What differs by jurisdiction: a country (`DE`) or a part of one (`US-CA`).
    #[serde(default, deserialize_with = "unique_keys")]
    jurisdictions: BTreeMap<String, Local>,
}

/// A published text version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PurposeVersion)]
pub struct VersionOut {
    purpose: String,
    version: String,
    texts: BTreeMap<String, String>,
    re_ask: bool,
    /// How long a grant for this text counts, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_ms: Option<i64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    jurisdictions: BTreeMap<String, Local>,
    /// Absent for built-in texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Time>,
}

impl From<Text> for VersionOut {
    fn from(text: Text) -> Self {
        let Text { purpose, version, texts, re_ask, published_ms, valid_ms, jurisdictions } = text;
        let published_at = (published_ms > 0).then_some(Time(published_ms));
        Self { purpose, version, texts, re_ask, valid_ms, jurisdictions, published_at }
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
        categories: purpose.class.categories,
        personal_data: purpose.class.personal_data,
        sale_or_share: purpose.class.sale_or_share,
    }
}

/// Refuses a version that nobody could be shown, or whose grants would end at once.
fn check_version(text: &Text) -> Result<()> {
    check_text("version", &text.version, 64)?;
    if text.texts.is_empty() {
        return Err(Error::invalid("texts", "required", "a version has a text in at least one language"));
    }
    check_texts("texts", &text.texts)?;
    check_validity("valid_ms", text.valid_ms)?;
    if text.jurisdictions.len() > JURISDICTIONS_LIMIT {
        let message = format!("may have at most {JURISDICTIONS_LIMIT} jurisdictions");
        return Err(Error::invalid("jurisdictions", "too_long", message));
    }
    for (code, local) in &text.jurisdictions {
        check_jurisdiction("jurisdictions", code)?;
        check_texts(&format!("jurisdictions.{code}.texts"), &local.texts)?;
        check_validity(&format!("jurisdictions.{code}.valid_ms"), local.valid_ms)?;
    }
    Ok(())
}

fn check_validity(field: &str, valid_ms: Option<i64>) -> Result<()> {
    if valid_ms.is_none_or(|span_ms| VALID_MS.contains(&span_ms)) {
        return Ok(());
    }
    let message = format!("must be {} (a minute) to {} (ten years) milliseconds", VALID_MS.start(), VALID_MS.end());
    Err(Error::invalid(field, "out_of_range", message))
}

fn check_class(class: &Class) -> Result<()> {
    if let Some(unknown) = class.categories.iter().find(|name| !CATEGORIES.contains(&name.as_str())) {
        check_text("categories", unknown, 64)?;
        return Err(Error::invalid(
            "categories",
            "unknown",
            format!("expected purpose classes out of {}", CATEGORIES.join(", ")),
        ));
    }
    if class.personal_data.len() > DATA_LIMIT {
        return Err(Error::invalid("personal_data", "too_long", format!("may have at most {DATA_LIMIT} kinds")));
    }
    class.personal_data.iter().try_for_each(|kind| check_text("personal_data", kind, 100))
}

fn check_texts(at: &str, texts: &BTreeMap<String, String>) -> Result<()> {
    if texts.len() > LANGUAGES_LIMIT {
        return Err(Error::invalid(at, "too_long", format!("may have at most {LANGUAGES_LIMIT} languages")));
    }
    for (locale, text) in texts {
        check::locale(at, locale)?;
        let field = format!("{at}.{locale}");
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
    let PurposeIn { key, name, basis, version, texts, valid_ms, jurisdictions, .. } = body.0;
    let class = Class { categories: body.0.categories, personal_data: body.0.personal_data, sale_or_share: body.0.sale_or_share };
    check::key("key", &key)?;
    check_text("name", &name, 100)?;
    check_class(&class)?;
    let published_ms = platform.clock.now_ms();
    let text = Text { purpose: key.clone(), version, texts, re_ask: false, published_ms, valid_ms, jurisdictions };
    check_version(&text)?;
    let purpose = Declared { key, name, basis, created_ms: published_ms, class };
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

fn one(conn: &mut Conn, app: AppId, key: &str) -> Result<PurposeOut> {
    Ok(out(found(conn, app, key)?, &consent::purposes(conn, app)?))
}

fn found(conn: &mut Conn, app: AppId, key: &str) -> Result<Declared> {
    let found = consent::declared(conn, app)?.into_iter().find(|purpose| purpose.key == key);
    found.ok_or_else(|| Error::not_found("purpose"))
}

fn known_key(path: web::Path<String>) -> Result<String> {
    let key = path.into_inner();
    check::key("key", &key).map_err(|_| Error::not_found("purpose"))?;
    Ok(key)
}

/// Gives a purpose another name for people, or another class. Built-in ones keep theirs.
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
    let (key, PurposePatch { name, categories, personal_data, sale_or_share }) = (known_key(path)?, body.0);
    name.as_deref().map_or(Ok(()), |name| check_text("name", name, 100))?;
    let done = platform.store.write(move |conn| {
        let Declared { basis, created_ms, class, name: before, .. } = found(conn, caller.app_id, &key)?;
        if BUILT_IN.iter().any(|b| b.key == key) {
            return Err(Error::not_found("purpose"));
        }
        let class = Class {
            categories: categories.unwrap_or(class.categories),
            personal_data: personal_data.unwrap_or(class.personal_data),
            sale_or_share: sale_or_share.unwrap_or(class.sale_or_share),
        };
        check_class(&class)?;
        let purpose = Declared { key, name: name.unwrap_or(before), basis, created_ms, class };
        consent::change(conn, caller.app_id, &purpose)?;
        one(conn, caller.app_id, &purpose.key)
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
    let VersionIn { version, texts, re_ask, valid_ms, jurisdictions } = body.0;
    let (purpose, published_ms) = (known_key(path)?, platform.clock.now_ms());
    let text = Text { purpose, version, texts, re_ask, published_ms, valid_ms, jurisdictions };
    check_version(&text)?;
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

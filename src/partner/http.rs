//! `/v1/partners` and their keys, managed by the app's own servers.

use super::store::{self, PartnerRow};
use crate::app::http::keys::{KeyOut, NewKeyOut};
use crate::app::{self, KEYS_TOPIC, KeyKind, Mint, Mode, Scope, Scopes, ServerKey};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, given};
use crate::id::{AppId, KeyId, PartnerId};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Longest name of a partner or key, in characters.
const NAME_CHARS_MAX: usize = 100;

/// A partner.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Partner)]
pub struct PartnerOut {
    id: PartnerId,
    name: String,
    created_at: Time,
}

impl From<PartnerRow> for PartnerOut {
    fn from(row: PartnerRow) -> Self {
        Self { id: row.id, name: row.name, created_at: Time(row.created_ms) }
    }
}

/// The partner to add.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPartner)]
pub struct PartnerIn {
    /// What users see when they are asked for their consent.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// The key to make for a partner.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPartnerKey)]
pub struct PartnerKeyIn {
    /// `live` when left out, `test` when a test key calls.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    mode: Option<Mode>,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// No later than the calling key's own end.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    expires_at: Option<Time>,
}

/// Adds a partner.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/partners", tag = "partner", request_body = PartnerIn, security(("server_key" = [])),
    responses((status = 201, body = PartnerOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: ServerKey, platform: web::Data<Platform>, body: Body<PartnerIn>) -> Result<HttpResponse> {
    caller.need(Scope::PartnersWrite)?;
    check_text("name", &body.0.name, NAME_CHARS_MAX)?;
    let row =
        PartnerRow { app_id: caller.app_id, id: platform.ids.next(), name: body.0.name, created_ms: platform.clock.now_ms() };
    let made = row.clone();
    platform.store.write(move |conn| store::insert(conn, &made)).await?;
    Ok(HttpResponse::Created().json(PartnerOut::from(row)))
}

/// Lists the partners.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/partners", tag = "partner", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<PartnerOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: ServerKey,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<PartnerOut>>> {
    caller.need(Scope::PartnersRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| store::page(conn, caller.app_id, (&after, rows))).await?;
    Ok(web::Json(page.0.page(found, |row| row.id.to_string(), PartnerOut::from)?))
}

/// Shows one partner.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/partners/{id}", tag = "partner", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = PartnerOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: ServerKey, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<PartnerOut>> {
    caller.need(Scope::PartnersRead)?;
    let id = parse(&path)?;
    let row = platform.store.read(move |conn| partner(conn, caller.app_id, id)).await?;
    Ok(web::Json(row.into()))
}

/// Makes a key for a partner. Its text is in this answer only.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(post, path = "/v1/partners/{id}/keys", tag = "partner", params(("id" = String, Path)), request_body = PartnerKeyIn,
    security(("server_key" = [])),
    responses((status = 201, body = NewKeyOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn create_key(
    caller: ServerKey,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<PartnerKeyIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::PartnersWrite)?;
    let (id, app, now_ms, ids) = (parse(&path)?, caller.app_id, platform.clock.now_ms(), platform.ids.clone());
    check_text("name", &body.0.name, NAME_CHARS_MAX)?;
    if body.0.expires_at.is_some_and(|at| at.0 <= now_ms) {
        return Err(Error::invalid("expires_at", "out_of_range", "must lie in the future"));
    }
    let wanted = Mint {
        app_id: app,
        kind: KeyKind::Partner,
        mode: body.0.mode.unwrap_or(caller.mode),
        name: body.0.name,
        partner_id: Some(id),
        scopes: Scopes::new(),
        expires_ms: body.0.expires_at.map(|at| at.0),
    };
    caller.may_mint(&wanted)?;
    let made = platform.store.write(move |conn| {
        partner(conn, app, id)?;
        app::mint(conn, &ids, now_ms, wanted)
    });
    Ok(HttpResponse::Created().json(NewKeyOut::from(made.await?)))
}

/// Lists a partner's keys, revoked and expired ones included.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/partners/{id}/keys", tag = "partner", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<KeyOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn list_keys(
    caller: ServerKey,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<KeyOut>>> {
    caller.need(Scope::PartnersRead)?;
    let (id, rows, after) = (parse(&path)?, page.0.rows()?, page.0.after().to_owned());
    let keys = platform.store.read(move |conn| {
        partner(conn, caller.app_id, id)?;
        app::partner_keys(conn, caller.app_id, id)
    });
    let after_cursor = keys.await?.into_iter().filter(|key| key.id.to_string() > after);
    let keys = after_cursor.take(usize::try_from(rows).unwrap_or(usize::MAX)).collect();
    Ok(web::Json(page.0.page(keys, |key: &app::Key| key.id.to_string(), KeyOut::from)?))
}

/// Revokes a partner's key: from this answer on it is refused.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/partners/{id}/keys/{key_id}", tag = "partner", params(("id" = String, Path), ("key_id" = String, Path)),
    security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn revoke_key(
    caller: ServerKey,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::PartnersWrite)?;
    let no_key = || Error::not_found("key");
    let (id, key_id) = (parse(&path.0)?, path.1.parse::<KeyId>().map_err(|_| no_key())?);
    let (app, now_ms) = (caller.app_id, platform.clock.now_ms());
    let revoked = platform.write_and_tell((KEYS_TOPIC, String::new()), move |conn| {
        partner(conn, app, id)?;
        if !app::partner_keys(conn, app, id)?.iter().any(|key| key.id == key_id) {
            return Err(no_key());
        }
        app::revoke(conn, app, key_id, now_ms)
    });
    revoked.await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) fn parse(id: &str) -> Result<PartnerId> {
    id.parse().map_err(|_| Error::not_found("partner"))
}

pub(super) fn partner(conn: &mut Conn, app: AppId, id: PartnerId) -> Result<PartnerRow> {
    store::find(conn, app, id)?.ok_or_else(|| Error::not_found("partner"))
}

//! `/v1/moment-kinds`: which events open moments.

use crate::app::{BackOffice, Scope};
use crate::campaign::check::is_key;
use crate::campaign::store::{campaigns, kinds, kinds::KindRow, touch};
use crate::campaign::{Kind, Status, declared};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::event;
use crate::http::{Body, IfMatch, Page, PageQuery, ProblemBody, Query, etag};
use crate::id::AppId;
use crate::platform::Platform;
use crate::store::{Conn, Doc};
use actix_web::{HttpResponse, web};
use serde::Serialize;

/// A moment kind with its version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StoredMomentKind)]
pub struct KindOut {
    #[serde(flatten)]
    spec: Kind,
    revision: i64,
    created_at: Time,
    updated_at: Time,
}

impl From<KindRow> for KindOut {
    fn from(row: KindRow) -> Self {
        Self { spec: row.spec.0, revision: row.revision, created_at: Time(row.created_ms), updated_at: Time(row.updated_ms) }
    }
}

/// Declares a moment kind. Events of its type open moments from now on.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/moment-kinds", tag = "campaign", request_body = Kind, security(("server_key" = [])),
    responses((status = 201, body = KindOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<Kind>) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, spec) = (caller.app_id, platform.clock.now_ms(), body.0);
    tried(&platform, app, &spec).await?;
    let row = platform.store.write(move |conn| {
        touch(conn, app)?;
        if kinds::find(conn, app, &spec.key)?.is_some() {
            return Err(Error::conflict("already_exists", "A moment kind with this key exists already in this app."));
        }
        insert(conn, app, (spec, now_ms))
    });
    let row = row.await?;
    Ok(HttpResponse::Created().insert_header(etag(row.revision)).json(KindOut::from(row)))
}

/// Declares a moment kind under this key, or replaces it; moments that are open stay as they are.
///
/// # Errors
/// 400, 401, 403, 409, 412.
#[utoipa::path(put, path = "/v1/moment-kinds/{key}", tag = "campaign", params(("key" = String, Path)), request_body = Kind,
    security(("server_key" = [])),
    responses((status = 200, body = KindOut), (status = 201, body = KindOut), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody),
        (status = 412, body = ProblemBody)))]
pub async fn put(
    caller: BackOffice,
    platform: web::Data<Platform>,
    (path, if_match): (web::Path<String>, IfMatch),
    body: Body<Kind>,
) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, mut spec) = (caller.app_id, platform.clock.now_ms(), body.0);
    if spec.key.is_empty() {
        path.as_str().clone_into(&mut spec.key);
    } else if spec.key != *path {
        return Err(Error::invalid("key", "invalid", "must be the key in the URL, or be left out"));
    }
    tried(&platform, app, &spec).await?;
    let written = platform.store.write(move |conn| {
        touch(conn, app)?;
        let Some(old) = kinds::find(conn, app, &spec.key)? else {
            if_match.check(0)?;
            return Ok((true, insert(conn, app, (spec, now_ms))?));
        };
        if_match.check(old.revision)?;
        spec.check_names(conn, app)?;
        event::listen(conn, app, &spec.trigger.event_type, now_ms)?;
        let row = KindRow { spec: Doc(spec), revision: old.revision + 1, updated_ms: now_ms, ..old };
        kinds::update(conn, &row)?;
        Ok((false, row))
    });
    let (made, row) = written.await?;
    let mut answer = if made { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(answer.insert_header(etag(row.revision)).json(KindOut::from(row)))
}

/// Lists the moment kinds, by key.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/moment-kinds", tag = "campaign", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<KindOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(caller: BackOffice, platform: web::Data<Platform>, page: Query<PageQuery>) -> Result<web::Json<Page<KindOut>>> {
    caller.need(Scope::CampaignsRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| kinds::page(conn, caller.app_id, (&after, rows))).await?;
    Ok(web::Json(page.0.page(found, |row| row.key.clone(), KindOut::from)?))
}

/// Shows one moment kind.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/moment-kinds/{key}", tag = "campaign", params(("key" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = KindOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsRead)?;
    let key = known(&path)?;
    let row = platform.store.read(move |conn| kinds::get(conn, caller.app_id, &key)).await?;
    Ok(HttpResponse::Ok().insert_header(etag(row.revision)).json(KindOut::from(row)))
}

/// Deletes a moment kind that no campaign needs any more; moments that are open stay as they are.
///
/// # Errors
/// 401, 403, 404, 409, 412.
#[utoipa::path(delete, path = "/v1/moment-kinds/{key}", tag = "campaign", params(("key" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn delete(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    if_match: IfMatch,
) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, key) = (caller.app_id, known(&path)?);
    let deleted = platform.store.write(move |conn| {
        touch(conn, app)?;
        if_match.check(kinds::get(conn, app, &key)?.revision)?;
        let open = campaigns::with_status(conn, app, &[Status::Draft, Status::Live, Status::Paused])?;
        if open.iter().any(|campaign| campaign.spec.0.kind() == Some(&key)) {
            return Err(Error::conflict("in_use", "A campaign that has not ended is triggered by this kind."));
        }
        kinds::delete(conn, app, &key)
    });
    deleted.await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What cannot be a key is not there.
fn known(key: &str) -> Result<String> {
    if is_key(key) { Ok(key.to_owned()) } else { Err(Error::not_found("moment kind")) }
}

async fn tried(platform: &Platform, app: AppId, spec: &Kind) -> Result<()> {
    let sample = platform.store.read(move |conn| declared::sample(conn, app)).await?;
    spec.try_on(&sample)
}

fn insert(conn: &mut Conn, app: AppId, (spec, now_ms): (Kind, i64)) -> Result<KindRow> {
    spec.check_names(conn, app)?;
    event::listen(conn, app, &spec.trigger.event_type, now_ms)?;
    let row =
        KindRow { app_id: app, key: spec.key.clone(), spec: Doc(spec), revision: 1, created_ms: now_ms, updated_ms: now_ms };
    kinds::insert(conn, &row)?;
    Ok(row)
}

//! `/v1/campaigns`: drafts are changed and deleted; live ones are paused, resumed and ended.

use crate::app::{BackOffice, Scope};
use crate::campaign::life::act;
use crate::campaign::store::{campaigns, campaigns::CampaignRow, touch};
use crate::campaign::{Action, Campaign, Status, declared};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, IfMatch, Page, PageQuery, ProblemBody, Query, etag};
use crate::id::{AppId, CampaignId};
use crate::platform::Platform;
use crate::store::Doc;
use actix_web::{HttpResponse, web};
use serde::Serialize;

/// A campaign with its status and version.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StoredCampaign)]
pub struct CampaignOut {
    id: CampaignId,
    #[serde(flatten)]
    spec: Campaign,
    status: Status,
    revision: i64,
    created_at: Time,
    updated_at: Time,
}

impl CampaignOut {
    fn new(row: CampaignRow) -> Result<Self> {
        Ok(Self {
            id: row.id,
            status: row.status()?,
            spec: row.spec.0,
            revision: row.revision,
            created_at: Time(row.created_ms),
            updated_at: Time(row.updated_ms),
        })
    }
}

/// Makes a draft. Nothing is said before it is published.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/campaigns", tag = "campaign", request_body = Campaign, security(("server_key" = [])),
    responses((status = 201, body = CampaignOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<Campaign>) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, id, spec) = (caller.app_id, platform.clock.now_ms(), platform.ids.next(), body.0);
    tried(&platform, app, &spec).await?;
    let made = platform.store.write(move |conn| {
        touch(conn, app)?;
        spec.check_names(conn, app)?;
        let row = CampaignRow {
            app_id: app,
            id,
            name: spec.name.clone(),
            status: Status::Draft.name().to_owned(),
            spec: Doc(spec),
            revision: 1,
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        campaigns::insert(conn, &row)?;
        Ok(row)
    });
    let row = made.await?;
    Ok(HttpResponse::Created().insert_header(etag(row.revision)).json(CampaignOut::new(row)?))
}

/// Lists the campaigns, ended ones included.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/campaigns", tag = "campaign", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<CampaignOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<CampaignOut>>> {
    caller.need(Scope::CampaignsRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| campaigns::page(conn, caller.app_id, (&after, rows))).await?;
    let page = page.0.page(found, |row| row.id.to_string(), CampaignOut::new)?;
    Ok(web::Json(Page { items: page.items.into_iter().collect::<Result<_>>()?, next_cursor: page.next_cursor }))
}

/// Shows one campaign.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/campaigns/{id}", tag = "campaign", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = CampaignOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsRead)?;
    let id = parse(&path)?;
    let row = platform.store.read(move |conn| campaigns::get(conn, caller.app_id, id)).await?;
    Ok(HttpResponse::Ok().insert_header(etag(row.revision)).json(CampaignOut::new(row)?))
}

/// Replaces a draft.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412.
#[utoipa::path(put, path = "/v1/campaigns/{id}", tag = "campaign", params(("id" = String, Path)), request_body = Campaign, security(("server_key" = [])),
    responses((status = 200, body = CampaignOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn put(
    caller: BackOffice,
    platform: web::Data<Platform>,
    (path, if_match): (web::Path<String>, IfMatch),
    body: Body<Campaign>,
) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, id, spec) = (caller.app_id, platform.clock.now_ms(), parse(&path)?, body.0);
    tried(&platform, app, &spec).await?;
    let written = platform.store.write(move |conn| {
        touch(conn, app)?;
        let old = draft(campaigns::get(conn, app, id)?, &if_match)?;
        spec.check_names(conn, app)?;
        let row = CampaignRow { name: spec.name.clone(), spec: Doc(spec), revision: old.revision + 1, updated_ms: now_ms, ..old };
        campaigns::update(conn, &row)?;
        Ok(row)
    });
    let row = written.await?;
    Ok(HttpResponse::Ok().insert_header(etag(row.revision)).json(CampaignOut::new(row)?))
}

/// Deletes a draft.
///
/// # Errors
/// 401, 403, 404, 409, 412.
#[utoipa::path(delete, path = "/v1/campaigns/{id}", tag = "campaign", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn delete(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    if_match: IfMatch,
) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, id) = (caller.app_id, parse(&path)?);
    let deleted = platform.store.write(move |conn| {
        touch(conn, app)?;
        draft(campaigns::get(conn, app, id)?, &if_match)?;
        campaigns::delete(conn, app, id)
    });
    deleted.await?;
    Ok(HttpResponse::NoContent().finish())
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $path:literal, $action:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// 400, 401, 403, 404, 409, 412.
        #[utoipa::path(post, path = $path, tag = "campaign", params(("id" = String, Path)), security(("server_key" = [])),
            responses((status = 200, body = CampaignOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
                (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
        pub async fn $name(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>, if_match: IfMatch) -> Result<HttpResponse> {
            take(&caller, &platform, (&path, if_match), $action).await
        }
    )*};
}

actions! {
    /// Publishes a draft: from now on it speaks; a scheduled one gets its runs.
    publish = "/v1/campaigns/{id}/publish", Action::Publish;
    /// Pauses a live campaign: it decides nothing more, and what is queued is cancelled.
    pause = "/v1/campaigns/{id}/pause", Action::Pause;
    /// Resumes a paused campaign.
    resume = "/v1/campaigns/{id}/resume", Action::Resume;
    /// Ends a campaign for good; what is queued is cancelled.
    end = "/v1/campaigns/{id}/end", Action::End;
}

async fn take(caller: &BackOffice, platform: &Platform, (id, if_match): (&str, IfMatch), action: Action) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsPublish)?;
    let (app, now_ms, id) = (caller.app_id, platform.clock.now_ms(), parse(id)?);
    let row = platform.store.write(move |conn| {
        touch(conn, app)?;
        let old = campaigns::get(conn, app, id)?;
        if_match.check(old.revision)?;
        act(conn, old, action, now_ms)
    });
    let row = row.await?;
    platform.timer_hint.nudge();
    platform.feedback_hint.nudge();
    Ok(HttpResponse::Ok().insert_header(etag(row.revision)).json(CampaignOut::new(row)?))
}

fn draft(row: CampaignRow, if_match: &IfMatch) -> Result<CampaignRow> {
    if_match.check(row.revision)?;
    if row.status()? == Status::Draft {
        return Ok(row);
    }
    Err(Error::conflict("not_a_draft", format!("The campaign is {}; only a draft can be changed or deleted.", row.status)))
}

fn parse(id: &str) -> Result<CampaignId> {
    id.parse().map_err(|_| Error::not_found("campaign"))
}

async fn tried(platform: &Platform, app: AppId, spec: &Campaign) -> Result<()> {
    let sample = platform.store.read(move |conn| declared::sample(conn, app)).await?;
    spec.try_on(&sample)
}

//! `/v1/offers`: what is worth saying. An offer is archived, never deleted: decisions tell of it.

use crate::app::{BackOffice, Scope};
use crate::campaign::store::{offers, offers::OfferRow, touch};
use crate::campaign::{Offer, declared};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, IfMatch, Page, PageQuery, ProblemBody, Query, etag};
use crate::id::{AppId, OfferId};
use crate::platform::Platform;
use crate::platform::turns::Turns;
use crate::store::Doc;
use actix_web::{HttpResponse, web};
use serde::Serialize;

/// An offer with its version and what is left of its stock.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StoredOffer)]
pub struct OfferOut {
    id: OfferId,
    #[serde(flatten)]
    spec: Offer,
    /// How many may still be chosen; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    stock_left: Option<i64>,
    /// How many choices count at present.
    reserved: i64,
    archived: bool,
    revision: i64,
    created_at: Time,
    updated_at: Time,
}

impl From<OfferRow> for OfferOut {
    fn from(row: OfferRow) -> Self {
        Self {
            id: row.id,
            spec: row.spec.0,
            stock_left: row.stock.map(|stock| stock - row.stock_reserved),
            reserved: row.stock_reserved,
            archived: row.archived,
            revision: row.revision,
            created_at: Time(row.created_ms),
            updated_at: Time(row.updated_ms),
        }
    }
}

/// Makes an offer. It is said by no one until a campaign lists it.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/offers", tag = "campaign", request_body = Offer, security(("server_key" = [])),
    responses((status = 201, body = OfferOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<Offer>) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, id, spec) = (caller.app_id, platform.clock.now_ms(), platform.ids.next(), body.0);
    let spec = tried(&platform, app, spec).await?;
    let made = platform.store.write(move |conn| {
        touch(conn, app)?;
        spec.check_names(conn, app)?;
        let row = OfferRow {
            app_id: app,
            id,
            partner_id: spec.partner_id,
            name: spec.name.clone(),
            stock: spec.stock,
            stock_reserved: 0,
            spec: Doc(spec),
            archived: false,
            revision: 1,
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        offers::insert(conn, &row)?;
        Ok(row)
    });
    let row = made.await?;
    Ok(HttpResponse::Created().insert_header(etag(row.revision)).json(OfferOut::from(row)))
}

/// Lists the offers, archived ones included.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/offers", tag = "campaign", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<OfferOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<OfferOut>>> {
    caller.need(Scope::CampaignsRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| offers::page(conn, caller.app_id, (&after, rows))).await?;
    Ok(web::Json(page.0.page(found, |row| row.id.to_string(), OfferOut::from)?))
}

/// Shows one offer.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/offers/{id}", tag = "campaign", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = OfferOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsRead)?;
    let id = parse(&path)?;
    let row = platform.store.read(move |conn| offers::get(conn, caller.app_id, id)).await?;
    Ok(HttpResponse::Ok().insert_header(etag(row.revision)).json(OfferOut::from(row)))
}

/// Replaces an offer's spec: a new version, from the next decision on. Whose it is stays.
///
/// # Errors
/// 400, 401, 403, 404, 409, 412.
#[utoipa::path(put, path = "/v1/offers/{id}", tag = "campaign", params(("id" = String, Path)), request_body = Offer, security(("server_key" = [])),
    responses((status = 200, body = OfferOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn put(
    caller: BackOffice,
    platform: web::Data<Platform>,
    (path, if_match): (web::Path<String>, IfMatch),
    body: Body<Offer>,
) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, id, spec) = (caller.app_id, platform.clock.now_ms(), parse(&path)?, body.0);
    let spec = tried(&platform, app, spec).await?;
    let written = platform.store.write(move |conn| {
        touch(conn, app)?;
        let old = offers::get(conn, app, id)?;
        if_match.check(old.revision)?;
        if old.archived {
            return Err(Error::conflict("archived", "The offer is archived; make a new one."));
        }
        if old.partner_id != spec.partner_id {
            return Err(Error::invalid("partner_id", "immutable", "an offer stays with the one who made it"));
        }
        spec.check_names(conn, app)?;
        let row = OfferRow {
            name: spec.name.clone(),
            stock: spec.stock,
            spec: Doc(spec),
            revision: old.revision + 1,
            updated_ms: now_ms,
            ..old
        };
        if offers::update(conn, &row)? { Ok(row) } else { Err(too_little(row.stock_reserved)) }
    });
    let row = written.await?;
    Ok(HttpResponse::Ok().insert_header(etag(row.revision)).json(OfferOut::from(row)))
}

fn too_little(reserved: i64) -> Error {
    Error::invalid("stock", "out_of_range", format!("{reserved} are chosen already"))
}

/// Archives an offer: from now on it is said no more. Messages on their way arrive.
///
/// # Errors
/// 401, 403, 404, 412.
#[utoipa::path(delete, path = "/v1/offers/{id}", tag = "campaign", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody),
        (status = 412, body = ProblemBody)))]
pub async fn archive(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    if_match: IfMatch,
) -> Result<HttpResponse> {
    caller.need(Scope::CampaignsWrite)?;
    let (app, now_ms, id) = (caller.app_id, platform.clock.now_ms(), parse(&path)?);
    let archived = platform.store.write(move |conn| {
        touch(conn, app)?;
        let old = offers::get(conn, app, id)?;
        if_match.check(old.revision)?;
        if !old.archived {
            let row = OfferRow { archived: true, revision: old.revision + 1, updated_ms: now_ms, ..old };
            offers::update(conn, &row)?;
        }
        Ok(())
    });
    archived.await?;
    Ok(HttpResponse::NoContent().finish())
}

fn parse(id: &str) -> Result<OfferId> {
    id.parse().map_err(|_| Error::not_found("offer"))
}

/// The offer, once its rule and its words were tried: not on a thread that others wait for, and only a few at once.
///
/// # Errors
/// 400 that names every field at fault; `Busy` when many of this app are tried.
pub async fn tried(platform: &Platform, app: AppId, spec: Offer) -> Result<Offer> {
    static TRIALS: Turns = Turns::new(2);
    let sample = platform.store.read(move |conn| declared::sample(conn, app)).await?;
    let _turn = TRIALS.take(app).await?;
    web::block(move || spec.try_on(&sample).map(|()| spec)).await.map_err(Error::broken)?
}

//! `/v1/places`: circles and polygons, for the app's own back end.

use crate::app::{BackOffice, Scope};
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Result};
use crate::http::{Body, IfMatch, Page, PageQuery, ProblemBody, Query, check_text, etag, given};
use crate::id::PlaceId;
use crate::place::geojson::Geometry;
use crate::place::geometry::{Point, Shape};
use crate::place::hours::OpeningHours;
use crate::place::store;
use crate::place::transition::Terms;
use crate::place::{DWELL_MS_DEFAULT, Place, STALE_AFTER_MS_DEFAULT};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Smallest radius, in metres: below it no phone can tell inside from outside.
const RADIUS_M_MIN: f64 = 10.0;
/// Largest radius, in metres.
const RADIUS_M_MAX: f64 = 100_000.0;
/// Longest dwell or silence, in milliseconds.
const SPAN_MS_MAX: i64 = 7 * DAY_MS;
/// Most tags of a place.
const TAGS_MAX: usize = 50;

/// A centre and a radius.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// Latitude of the centre, in degrees.
    #[schema(minimum = -90, maximum = 90)]
    lat: f64,
    /// Longitude of the centre, in degrees.
    #[schema(minimum = -180, maximum = 180)]
    lon: f64,
    /// Radius in metres.
    #[schema(minimum = 10, maximum = 100000)]
    radius_m: f64,
}

/// A place.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Place)]
pub struct PlaceOut {
    id: PlaceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    circle: Option<Circle>,
    /// GeoJSON, cut at the antimeridian.
    #[serde(skip_serializing_if = "Option::is_none")]
    geometry: Option<Geometry>,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opening_hours: Option<OpeningHours>,
    dwell_ms: i64,
    stale_after_ms: i64,
    created_at: Time,
}

/// A place to make: a circle or a GeoJSON polygon.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceIn {
    /// The app's own name for it, unique in the app.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    key: Option<String>,
    /// A name for people.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// This, or a geometry.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    circle: Option<Circle>,
    /// This, or a circle.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    geometry: Option<Geometry>,
    /// Words that rules can ask for.
    #[serde(default)]
    #[schema(max_items = 50)]
    tags: BTreeSet<String>,
    /// When it is open.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    opening_hours: Option<OpeningHours>,
    /// A visit of this length is a dwell, in milliseconds; five minutes when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 1, maximum = 604800000)]
    dwell_ms: Option<i64>,
    /// A silence of this length ends a visit, in milliseconds; one hour when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 1, maximum = 604800000)]
    stale_after_ms: Option<i64>,
}

/// A change of a place: what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlacePatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    name: Option<String>,
    /// Another circle, or a circle in place of the geometry.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    circle: Option<Circle>,
    /// Another geometry, or a geometry in place of the circle.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    geometry: Option<Geometry>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 50)]
    tags: Option<BTreeSet<String>>,
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<OpeningHours>)]
    opening_hours: Option<Option<OpeningHours>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 1, maximum = 604800000)]
    dwell_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 1, maximum = 604800000)]
    stale_after_ms: Option<i64>,
}

/// Which places to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PlacesQuery {
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Only the place with this key.
    key: Option<String>,
}

impl From<Place> for PlaceOut {
    fn from(place: Place) -> Self {
        let (circle, geometry) = match &place.shape {
            Shape::Circle { center, radius_m } => (Some(Circle { lat: center.lat, lon: center.lon, radius_m: *radius_m }), None),
            Shape::Polygons(parts) => (None, Some(Geometry::write(parts))),
        };
        Self {
            id: place.id,
            key: place.key,
            name: place.name,
            circle,
            geometry,
            tags: place.tags,
            opening_hours: place.opening_hours,
            dwell_ms: place.terms.dwell_ms,
            stale_after_ms: place.terms.stale_after_ms,
            created_at: Time(place.created_ms),
        }
    }
}

fn shape(circle: Option<Circle>, geometry: Option<&Geometry>) -> Result<Option<Shape>> {
    match (circle, geometry) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Error::invalid("geometry", "invalid", "give a circle or a geometry, not both")),
        (None, Some(geometry)) => geometry
            .read()
            .map(|parts| Some(Shape::Polygons(parts)))
            .map_err(|flaw| Error::invalid(format!("geometry.{}", flaw.path), "invalid", flaw.message)),
        (Some(Circle { lat, lon, radius_m }), None) => {
            let wrong = |field: &str, message: &str| Err(Error::invalid(format!("circle.{field}"), "out_of_range", message));
            if !(-90.0..=90.0).contains(&lat) {
                return wrong("lat", "must be -90 to 90");
            }
            if !(-180.0..=180.0).contains(&lon) {
                return wrong("lon", "must be -180 to 180");
            }
            if !(RADIUS_M_MIN..=RADIUS_M_MAX).contains(&radius_m) {
                return wrong("radius_m", "must be 10 to 100000 metres");
            }
            Ok(Some(Shape::Circle { center: Point { lat, lon }, radius_m }))
        }
    }
}

fn check(place: &Place) -> Result<()> {
    check_text("name", &place.name, 200)?;
    place.key.as_deref().map_or(Ok(()), |key| check_text("key", key, 200))?;
    if place.tags.len() > TAGS_MAX {
        return Err(Error::invalid("tags", "too_long", format!("at most {TAGS_MAX} tags")));
    }
    place.tags.iter().try_for_each(|tag| check_text("tags", tag, 100))?;
    for (field, span_ms) in [("dwell_ms", place.terms.dwell_ms), ("stale_after_ms", place.terms.stale_after_ms)] {
        if !(1..=SPAN_MS_MAX).contains(&span_ms) {
            return Err(Error::invalid(field, "out_of_range", format!("must be 1 to {SPAN_MS_MAX} milliseconds")));
        }
    }
    let hours = place.opening_hours.as_ref().map_or(Ok(()), OpeningHours::check);
    hours.map_err(|(path, message)| Error::invalid(format!("opening_hours.{path}"), "invalid", message))
}

/// Makes a place. Whoever is inside already enters with the first fix, as `initial`.
///
/// # Errors
/// 400, 401, 403, 409.
#[utoipa::path(post, path = "/v1/places", tag = "places", request_body = PlaceIn, security(("server_key" = [])),
    responses((status = 201, body = PlaceOut, headers(("ETag" = String))), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<PlaceIn>) -> Result<HttpResponse> {
    caller.need(Scope::PlacesWrite)?;
    let Body(sent) = body;
    let shape = shape(sent.circle, sent.geometry.as_ref())?;
    let now_ms = platform.clock.now_ms();
    let place = Place {
        id: platform.ids.next(),
        key: sent.key,
        name: sent.name,
        shape: shape.ok_or_else(|| Error::invalid("circle", "required", "give a circle or a geometry"))?,
        tags: sent.tags.into_iter().collect(),
        terms: Terms {
            dwell_ms: sent.dwell_ms.unwrap_or(DWELL_MS_DEFAULT),
            stale_after_ms: sent.stale_after_ms.unwrap_or(STALE_AFTER_MS_DEFAULT),
        },
        opening_hours: sent.opening_hours,
        revision: 1,
        shaped_ms: now_ms,
        created_ms: now_ms,
    };
    check(&place)?;
    let made = place.clone();
    platform.store.write(move |conn| store::insert(conn, caller.app_id, &[made])).await?;
    Ok(HttpResponse::Created().insert_header(etag(place.revision)).json(PlaceOut::from(place)))
}

/// Reads a place.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/places/{id}", tag = "places", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = PlaceOut, headers(("ETag" = String))), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::PlacesRead)?;
    let id = parse(&path)?;
    let place = platform.store.read(move |conn| store::one(conn, caller.app_id, id)).await?;
    Ok(HttpResponse::Ok().insert_header(etag(place.revision)).json(PlaceOut::from(place)))
}

/// Lists places.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/places", tag = "places", params(PlacesQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<PlaceOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<PlacesQuery>,
) -> Result<web::Json<Page<PlaceOut>>> {
    caller.need(Scope::PlacesRead)?;
    let Query(PlacesQuery { limit, cursor, key }) = query;
    key.as_deref().map_or(Ok(()), |key| check_text("key", key, 200))?;
    let page = PageQuery { limit, cursor };
    let (rows, after) = (page.rows()?, page.after().to_owned());
    let found = platform.store.read(move |conn| store::page(conn, caller.app_id, key.as_deref(), (&after, rows))).await?;
    Ok(web::Json(page.page(found, |place| place.id.to_string(), PlaceOut::from)?))
}

/// Changes a place. A new shape counts from now: nobody has been seen by it yet.
///
/// # Errors
/// 400, 401, 403, 404, 412.
#[utoipa::path(patch, path = "/v1/places/{id}", tag = "places", request_body = PlacePatch, security(("server_key" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = PlaceOut, headers(("ETag" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    (path, if_match): (web::Path<String>, IfMatch),
    body: Body<PlacePatch>,
) -> Result<HttpResponse> {
    caller.need(Scope::PlacesWrite)?;
    let id = parse(&path)?;
    let Body(patch) = body;
    let shape = shape(patch.circle, patch.geometry.as_ref())?;
    let (app, now_ms) = (caller.app_id, platform.clock.now_ms());
    let place = platform.store.write(move |conn| {
        conn.serialise(&format!("ground:{app}"))?;
        let mut place = store::one(conn, app, id)?;
        if_match.check(place.revision)?;
        if let Some(shape) = shape.filter(|shape| *shape != place.shape) {
            (place.shape, place.shaped_ms) = (shape, now_ms);
        }
        place.name = patch.name.unwrap_or(place.name);
        place.tags = patch.tags.map_or(place.tags, |tags| tags.into_iter().collect());
        place.opening_hours = patch.opening_hours.unwrap_or(place.opening_hours);
        place.terms.dwell_ms = patch.dwell_ms.unwrap_or(place.terms.dwell_ms);
        place.terms.stale_after_ms = patch.stale_after_ms.unwrap_or(place.terms.stale_after_ms);
        place.revision += 1;
        check(&place)?;
        store::update(conn, app, &place)?;
        Ok(place)
    });
    let place = place.await?;
    Ok(HttpResponse::Ok().insert_header(etag(place.revision)).json(PlaceOut::from(place)))
}

/// Deletes a place. Whoever is inside is forgotten there; no exit is told.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/places/{id}", tag = "places", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::PlacesWrite)?;
    let id = parse(&path)?;
    let app = caller.app_id;
    let gone = platform.store.write(move |conn| {
        conn.serialise(&format!("ground:{app}"))?;
        if store::delete(conn, app, id)? { Ok(()) } else { Err(Error::not_found("place")) }
    });
    gone.await?;
    Ok(HttpResponse::NoContent().finish())
}

fn parse(id: &str) -> Result<PlaceId> {
    id.parse().map_err(|_| Error::not_found("place"))
}

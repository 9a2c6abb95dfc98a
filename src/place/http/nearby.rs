//! `/v1/places/nearby`: the few places that a phone can watch, and when to ask again.

use crate::app::{PublishableKey, bearer};
use crate::error::{Error, Result};
use crate::http::{ProblemBody, Query};
use crate::id::{AppId, PlaceId};
use crate::people::account::UserToken;
use crate::place::Places;
use crate::place::geometry::Point;
use crate::place::index::Near;
use crate::platform::Platform;
use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

/// Places when none are asked for: what an iPhone can watch beside the circle that says when to ask again.
const LIMIT_DEFAULT: usize = 19;
/// Most places in one answer: what an Android phone can watch.
const LIMIT_MAX: usize = 100;
/// A phone need not ask again before it has moved this far, in metres.
const REFRESH_M_MIN: f64 = 200.0;
/// Nor may it wait longer than this, in metres, however empty the map is.
const REFRESH_M_MAX: f64 = 50_000.0;

/// The app on a phone, with or without a sign-in.
#[derive(Debug, Clone, Copy)]
pub struct Phone {
    /// The tenant.
    pub app_id: AppId,
}

impl FromRequest for Phone {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if bearer(request.headers()).is_some() {
            let user = UserToken::from_request(request, payload);
            return Box::pin(async move { user.await.map(|user| Self { app_id: user.app_id }) });
        }
        let key = PublishableKey::from_request(request, payload);
        Box::pin(async move { key.await.map(|key| Self { app_id: key.app_id }) })
    }
}

/// Where the phone is and how many places it can watch.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NearbyQuery {
    /// Latitude in degrees.
    #[param(minimum = -90, maximum = 90)]
    lat: f64,
    /// Longitude in degrees.
    #[param(minimum = -180, maximum = 180)]
    lon: f64,
    /// How many places, 1 to 100; 19 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
}

/// The nearest places.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NearbyOut {
    /// Nearest first.
    places: Vec<NearOut>,
    /// Ask again when the phone has moved further than this from where it asked, in metres.
    refresh_radius_m: f64,
}

/// A place as a phone can watch it: the circle around it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = NearbyPlace)]
pub struct NearOut {
    id: PlaceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    name: String,
    lat: f64,
    lon: f64,
    radius_m: f64,
    /// Metres to the circle; 0 inside.
    distance_m: f64,
    dwell_ms: i64,
    /// Grows with every change of the place.
    revision: i64,
}

impl From<&Near> for NearOut {
    fn from(near: &Near) -> Self {
        let (center, radius_m) = near.place.shape.enclosing_circle();
        Self {
            id: near.place.id,
            key: near.place.key.clone(),
            name: near.place.name.clone(),
            lat: center.lat,
            lon: center.lon,
            radius_m,
            distance_m: near.distance_m,
            dwell_ms: near.place.terms.dwell_ms,
            revision: near.place.revision,
        }
    }
}

/// The places nearest to a phone. The position is neither stored nor logged.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/places/nearby", tag = "places", params(NearbyQuery), security(("publishable_key" = []), ("user_token" = [])),
    responses((status = 200, body = NearbyOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn nearby(
    caller: Phone,
    platform: web::Data<Platform>,
    places: web::Data<Places>,
    query: Query<NearbyQuery>,
) -> Result<web::Json<NearbyOut>> {
    let Query(NearbyQuery { lat, lon, limit }) = query;
    if !(-90.0..=90.0).contains(&lat) {
        return Err(Error::invalid("lat", "out_of_range", "must be -90 to 90"));
    }
    if !(-180.0..=180.0).contains(&lon) {
        return Err(Error::invalid("lon", "out_of_range", "must be -180 to 180"));
    }
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Error::invalid("limit", "out_of_range", format!("must be 1 to {LIMIT_MAX}")));
    }
    let index = platform.store.read(move |conn| places.index(conn, caller.app_id)).await?;
    let mut near = index.nearest(Point { lat, lon }, limit + 1);
    // Within half-way to the first place that is left out, these are still the ones to watch.
    let beyond_m = if near.len() > limit { near.pop().map(|n| n.distance_m) } else { None };
    let reach_m = beyond_m.map_or(REFRESH_M_MAX, |m| m / 2.0);
    Ok(web::Json(NearbyOut {
        places: near.iter().map(NearOut::from).collect(),
        refresh_radius_m: reach_m.clamp(REFRESH_M_MIN, REFRESH_M_MAX),
    }))
}

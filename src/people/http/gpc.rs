//! `/.well-known/gpc.json`: says that this server honours Global Privacy Control.

use actix_web::web;
use serde::Serialize;

/// Since when, as the support file of the signal puts it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = GpcSupport)]
pub struct Support {
    gpc: bool,
    #[serde(rename = "lastUpdate")]
    last_update: &'static str,
}

/// Says that `Sec-GPC: 1` is honoured: a signed-in user's signal withdraws what sells or shares their data.
#[utoipa::path(get, path = "/.well-known/gpc.json", tag = "operations", responses((status = 200, body = Support)))]
pub async fn support() -> web::Json<Support> {
    web::Json(Support { gpc: true, last_update: "2026-11-28" })
}

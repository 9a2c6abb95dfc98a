//! `/livez`, `/readyz` and `/metrics`: for machines that look after this one.

use super::Platform;
use crate::error::{Error, Result};
use crate::http::ProblemBody;
use crate::telemetry;
use actix_web::{HttpResponse, web};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the database may take to answer before this node counts as not ready.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// The process runs. Says nothing about the database: a restart could not mend that.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, body = String)))]
pub async fn livez() -> &'static str {
    "ok"
}

/// The database answers and nobody told this node to stop, so it can take requests.
///
/// # Errors
/// 503.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, body = String), (status = 503, body = ProblemBody)))]
pub async fn readyz(platform: web::Data<Platform>) -> Result<&'static str> {
    if platform.leaving.load(Ordering::SeqCst) {
        return Err(Error::Busy("this node is about to stop"));
    }
    let asked = platform.store.read(|conn| conn.batch("SELECT 1"));
    match tokio::time::timeout(DATABASE_PATIENCE, asked).await {
        Ok(Ok(_)) => Ok("ok"),
        Ok(Err(_)) | Err(_) => Err(Error::Busy("the database does not answer")),
    }
}

/// Figures in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, body = String)))]
pub async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::render_metrics())
}

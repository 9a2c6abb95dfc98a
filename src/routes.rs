//! Every URL on one page, in reading order.

use crate::http::ProblemBody;
use actix_web::web::{self, ServiceConfig};
use utoipa::OpenApi;

/// The OpenAPI document; its paths are the routes below, which a test compares.
#[derive(OpenApi)]
#[openapi(
    info(title = "Kairos", description = "The mobile backend that seizes business moments.", license(name = "Apache-2.0")),
    paths(),
    components(schemas(ProblemBody))
)]
pub struct ApiDoc;

/// Mounts every route.
pub fn mount(config: &mut ServiceConfig) {
    config.route("/livez", web::get().to(|| async { "ok" }));
}

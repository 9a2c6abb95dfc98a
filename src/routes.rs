//! Every URL on one page, in reading order.

use crate::app;
use crate::http::ProblemBody;
use actix_web::web::{self, ServiceConfig};
use utoipa::OpenApi;

/// The OpenAPI document; its paths are the routes below, which a test compares.
#[derive(OpenApi)]
#[openapi(
    info(title = "Kairos", description = "The mobile backend that seizes business moments.", license(name = "Apache-2.0")),
    paths(
        app::http::settings::read,
        app::http::settings::patch,
        app::http::keys::create,
        app::http::keys::list,
        app::http::keys::revoke,
        app::http::keys::rotate,
    ),
    components(schemas(ProblemBody))
)]
pub struct ApiDoc;

/// Mounts every route.
pub fn mount(config: &mut ServiceConfig) {
    config.route("/livez", web::get().to(|| async { "ok" }));

    config.route("/v1/app", web::get().to(app::http::settings::read));
    config.route("/v1/app", web::patch().to(app::http::settings::patch));
    config.route("/v1/keys", web::post().to(app::http::keys::create));
    config.route("/v1/keys", web::get().to(app::http::keys::list));
    config.route("/v1/keys/{id}", web::delete().to(app::http::keys::revoke));
    config.route("/v1/keys/{id}/rotate", web::post().to(app::http::keys::rotate));
}

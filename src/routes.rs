//! Every URL on one page, in reading order.

use crate::app;
use crate::http::ProblemBody;
use crate::people::account;
use actix_web::web::{self, ServiceConfig};
use utoipa::OpenApi;

/// The OpenAPI document; its paths are the routes below, which a test compares.
#[derive(OpenApi)]
#[openapi(
    info(title = "Kairos", description = "The mobile backend that seizes business moments.", license(name = "Apache-2.0")),
    paths(
        account::http::sign::sign_up,
        account::http::sign::sign_in,
        account::http::sign::anonymous,
        account::http::session::refresh,
        account::http::session::sign_out,
        account::http::session::jwks,
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

    config.route("/v1/auth/sign-up", web::post().to(account::http::sign::sign_up));
    config.route("/v1/auth/sign-in", web::post().to(account::http::sign::sign_in));
    config.route("/v1/auth/anonymous", web::post().to(account::http::sign::anonymous));
    config.route("/v1/auth/refresh", web::post().to(account::http::session::refresh));
    config.route("/v1/auth/sign-out", web::post().to(account::http::session::sign_out));
    config.route("/.well-known/jwks.json", web::get().to(account::http::session::jwks));

    config.route("/v1/app", web::get().to(app::http::settings::read));
    config.route("/v1/app", web::patch().to(app::http::settings::patch));
    config.route("/v1/keys", web::post().to(app::http::keys::create));
    config.route("/v1/keys", web::get().to(app::http::keys::list));
    config.route("/v1/keys/{id}", web::delete().to(app::http::keys::revoke));
    config.route("/v1/keys/{id}/rotate", web::post().to(app::http::keys::rotate));
}

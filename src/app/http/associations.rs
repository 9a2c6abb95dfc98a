//! `/.well-known/apple-app-site-association` and `/.well-known/assetlinks.json`: which programs may use the passkeys of
//! the domain that is asked.
//!
//! Only what belongs to the domain in the request's `Host` is shown: one app's programs have no business with another
//! app's passkeys. Links in mails lead to the server's own domain, whatever the app's is, so that one lists every app's
//! Apple programs, each for the app's own links alone.

use crate::app::cors::Origins;
use crate::app::passkeys::Passkeys;
use crate::error::Result;
use crate::id::AppId;
use actix_web::http::header::{CACHE_CONTROL, HOST};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// What an Android program that is listed may do.
const RELATIONS: [&str; 1] = ["delegate_permission/common.get_login_creds"];

/// Apple apps that may use this domain's passkeys, and those that open the links in their mails.
///
/// # Errors
/// 503.
#[utoipa::path(get, path = "/.well-known/apple-app-site-association", tag = "auth",
    responses((status = 200, body = Object, description = "Apple's format; empty for a domain that no app names.")))]
pub async fn apple(origins: web::Data<Origins>, request: HttpRequest) -> Result<HttpResponse> {
    let domain = domain(&request);
    let ids: Vec<String> = origins.passkeys(&domain).await?.into_iter().flat_map(|app| app.apple_app_ids).collect();
    let linked = origins.linked(&domain).await?.into_iter().filter(|(_, programs)| !programs.apple_app_ids.is_empty());
    let of = |(app, programs): (AppId, Passkeys)| json!({ "appIDs": programs.apple_app_ids, "components": [{ "/": format!("/auth/{app}/*"), "comment": "Links in mails" }] });
    let details: Vec<Value> = linked.map(of).collect();
    Ok(answer(json!({ "webcredentials": { "apps": ids }, "applinks": { "details": details } })))
}

/// Android apps that may use this domain's passkeys.
///
/// # Errors
/// 503.
#[utoipa::path(get, path = "/.well-known/assetlinks.json", tag = "auth",
    responses((status = 200, body = Vec<Object>, description = "Google's format; empty for a domain that no app names.")))]
pub async fn android(origins: web::Data<Origins>, request: HttpRequest) -> Result<HttpResponse> {
    let apps = origins.passkeys(&domain(&request)).await?.into_iter().flat_map(|app| app.android);
    let links = apps.map(|app| {
        let target = json!({ "namespace": "android_app", "package_name": app.package,
            "sha256_cert_fingerprints": app.sha256_cert_fingerprints });
        json!({ "relation": RELATIONS, "target": target })
    });
    Ok(answer(links.collect()))
}

/// The domain of a request.
fn domain(request: &HttpRequest) -> String {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).or_else(|| request.uri().host());
    let host = host.unwrap_or_default().to_ascii_lowercase();
    host.split(':').next().unwrap_or_default().to_owned()
}

fn answer(value: Value) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "public, max-age=300")).json(value)
}

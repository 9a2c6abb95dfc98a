//! The pages behind the links of mails: `/auth/{app}/{page}#token=…`.
//!
//! A page is the same for everybody and changes nothing by being read, so that a scanner of links uses nothing up. The
//! token is in the fragment, which browsers keep to themselves; the page's script sends it when its reader presses the
//! button. Apps that handle these links themselves (universal links, app links) read it from there.

use crate::error::{Error, Result};
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::web;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; \
    base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
/// The pages that mails link to.
const PAGES: [&str; 4] = ["verify-email", "sign-in", "reset-password", "change-email"];

/// A page.
///
/// # Errors
/// 404.
pub async fn page(path: web::Path<(String, String)>) -> Result<HttpResponse> {
    if !PAGES.contains(&path.1.as_str()) {
        return Err(Error::not_found("page"));
    }
    Ok(file("text/html; charset=utf-8", PAGE))
}

/// Their script.
pub async fn script() -> HttpResponse {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// Their style.
pub async fn style() -> HttpResponse {
    file("text/css; charset=utf-8", STYLE)
}

fn file(content_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(text)
}

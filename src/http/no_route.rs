//! The answer to a URL that leads nowhere: 404, or 405 when the path exists under another method.

use crate::error::{Error, Problem};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;

/// Every path template with its methods, as the OpenAPI document lists them; kept in the app's data.
pub struct Templates(Vec<(Vec<String>, Vec<&'static str>)>);

impl Templates {
    /// Reads them from the document.
    pub fn of(document: &OpenApi) -> Self {
        let rows = document.paths.paths.iter().map(|(path, item)| (path.split('/').map(str::to_owned).collect(), methods(item)));
        Self(rows.collect())
    }

    /// The methods that a path knows; empty when there is no such path.
    pub fn methods(&self, path: &str) -> Vec<&'static str> {
        let wanted: Vec<&str> = path.split('/').collect();
        let fits = |template: &[String]| {
            template.len() == wanted.len()
                && template.iter().zip(&wanted).all(|(t, w)| t == w || (t.starts_with('{') && !w.is_empty()))
        };
        self.0.iter().filter(|(template, _)| fits(template)).flat_map(|(_, methods)| methods.iter().copied()).collect()
    }
}

fn methods(item: &PathItem) -> Vec<&'static str> {
    [
        ("GET", item.get.is_some()),
        ("POST", item.post.is_some()),
        ("PUT", item.put.is_some()),
        ("PATCH", item.patch.is_some()),
        ("DELETE", item.delete.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect()
}

/// The handler behind every URL that no route takes.
pub async fn no_route(request: HttpRequest, templates: web::Data<Templates>) -> HttpResponse {
    let methods = templates.methods(request.path()).join(", ");
    if methods.is_empty() {
        let detail = "There is nothing under this URL; /openapi.json lists what is.";
        return Error::from(Problem::new(404, "no_route", detail)).error_response();
    }
    let detail = format!("This URL takes {methods} only.");
    let mut response = Error::from(Problem::new(405, "method_not_allowed", detail)).error_response();
    if let Ok(value) = HeaderValue::try_from(methods) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

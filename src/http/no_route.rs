//! The answer to a URL that leads nowhere: 404, or 405 when the path exists under another method.

use crate::error::{Error, Problem, Result};
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Every path template with its methods, as the OpenAPI document lists them; kept in the app's data.
pub struct Templates(Vec<(Vec<String>, Vec<&'static str>)>);

/// What is read of the document.
#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, BTreeMap<String, IgnoredAny>>,
}

impl Templates {
    /// Reads them from the document's text.
    ///
    /// # Errors
    /// When it is not an OpenAPI document.
    pub fn of(document: &str) -> Result<Self> {
        let document: Document = serde_json::from_str(document).map_err(Error::broken)?;
        let rows = document.paths.iter().map(|(path, item)| {
            let methods = METHODS.into_iter().filter(|method| item.contains_key(&method.to_lowercase()));
            (path.split('/').map(str::to_owned).collect(), methods.collect())
        });
        Ok(Self(rows.collect()))
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

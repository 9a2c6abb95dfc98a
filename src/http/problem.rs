//! Refusals on the wire: RFC 9457 problem+json with a stable `code`, the fields at fault and a request id.

use super::request_id::RequestId;
use crate::error::{Error, FieldError};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

/// The shape of every refusal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A URI for this kind of problem: `about:blank#` and the code.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: String,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// Stable machine word.
    code: &'a str,
    /// What happened and what to do.
    detail: &'a str,
    /// The fields at fault.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(value_type = Vec<FieldError>)]
    errors: &'a [FieldError],
    /// Name this when you ask for help; also in the `X-Request-Id` header of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request_id: Option<&'a str>,
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Refused(problem) => StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let (code, detail, errors, retry_after_s) = match self {
            Self::Refused(p) => (p.code, p.detail.as_str(), p.errors.as_slice(), p.retry_after_s),
            Self::Busy(_) => ("busy", "The server cannot take this now; nothing was done. Try again shortly.", &[][..], Some(1)),
            Self::Broken(_) => {
                tracing::error!(error = %self, request_id = RequestId::current(), "a request failed");
                ("internal", "The fault is ours and has been logged. Trying again may help.", &[][..], None)
            }
        };
        let request_id = RequestId::current();
        let mut answer = HttpResponseBuilder::new(status);
        if let Some(seconds) = retry_after_s {
            answer.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if status == StatusCode::UNAUTHORIZED {
            answer.insert_header(("WWW-Authenticate", "Bearer"));
        }
        answer.content_type("application/problem+json").json(ProblemBody {
            kind: format!("about:blank#{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail,
            errors,
            request_id: request_id.as_deref(),
        })
    }
}

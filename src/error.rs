//! One error type, sorted by what the caller should do about it.

use std::fmt;

/// One field of a request that was refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Dotted path of the field in the body, or the name of the parameter or header.
    pub field: String,
    /// Stable machine word: `required`, `unknown`, `invalid`, `too_long`, `out_of_range`, `duplicate`, …
    pub code: &'static str,
    /// What is wrong and what would be right, for a person.
    pub message: String,
}

/// A refusal that the caller can act on; sent as RFC 9457 problem+json.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status, 400–599.
    pub status: u16,
    /// Stable machine word, part of the contract: `validation_failed`, `not_found`, `unauthorized`, …
    pub code: &'static str,
    /// What happened this time and what to do next. Never echoes a secret.
    pub detail: String,
    /// The fields at fault, if any.
    pub errors: Vec<FieldError>,
    /// Seconds to wait before trying again, for 429 and 503.
    pub retry_after_s: Option<u64>,
}

/// Everything that can go wrong, by what the caller should do.
///
/// A refusal by a gate, a silence, a dead token are values, not errors.
#[derive(Debug, Clone)]
pub enum Error {
    /// The caller can mend it: wrong input, missing right, conflict. Not logged as an error.
    Refused(Box<Problem>),
    /// Nothing is wrong with the request; try it again later (database away, queue full).
    Busy(&'static str),
    /// We are at fault; the text goes to the log, never to the caller.
    Broken(String),
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Problem {
    /// A problem with a status, a stable code and an explanation.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }

    /// Adds a field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), code, message: message.into() });
        self
    }
}

impl Error {
    /// 400 `validation_failed` that names one field.
    pub fn invalid(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let field = field.into();
        Problem::new(400, "validation_failed", format!("{field}: {message}")).field(field, code, message).into()
    }

    /// 400 `validation_failed` that names several fields.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect::<Vec<_>>().join("; ");
        Problem { errors, ..Problem::new(400, "validation_failed", detail) }.into()
    }

    /// 404 `not_found`. The same answer for what does not exist and what belongs to another app.
    pub fn not_found(what: &str) -> Self {
        Problem::new(404, "not_found", format!("There is no such {what} in this app.")).into()
    }

    /// 401 `unauthorized`: who is calling is not known.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Problem::new(401, "unauthorized", detail).into()
    }

    /// 403 `forbidden`: the caller is known and may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Problem::new(403, "forbidden", detail).into()
    }

    /// 409 with a stable code of its own.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(409, code, detail).into()
    }

    /// An internal fault; use for states that our own code should have made impossible.
    pub fn broken(what: impl fmt::Display) -> Self {
        Self::Broken(what.to_string())
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(p) => write!(f, "{} ({}): {}", p.status, p.code, p.detail),
            Self::Busy(what) => write!(f, "busy: {what}"),
            Self::Broken(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for Error {}

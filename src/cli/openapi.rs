//! `kairos openapi`: prints the OpenAPI document that the code defines.

use crate::error::{Error, Result};
use crate::routes::ApiDoc;
use std::process::ExitCode;
use utoipa::OpenApi as _;

/// # Errors
/// Never in practice.
pub(super) fn run() -> Result<ExitCode> {
    println!("{}", ApiDoc::openapi().to_pretty_json().map_err(Error::broken)?);
    Ok(ExitCode::SUCCESS)
}

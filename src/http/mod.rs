//! What every handler needs and no room owns: bodies, problems, pages.

mod body;
mod free_json;
mod page;
mod problem;

pub use body::{Body, BodyLimit, Query, parse, read_json};
pub use free_json::FreeJson;
pub use page::{Page, PageQuery};
pub use problem::{ProblemBody, RequestId};

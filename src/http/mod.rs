//! What every handler needs and no room owns: bodies, problems, pages.

mod address;
mod body;
mod check;
mod etag;
mod free_json;
mod page;
mod problem;
mod unique;

pub use address::{ClientAddress, TrustedProxies};
pub use body::{Body, BodyLimit, Query, parse, read_json};
pub use check::{check_text, given};
pub use etag::{IfMatch, etag};
pub use free_json::FreeJson;
pub use page::{Page, PageQuery};
pub use problem::{ProblemBody, RequestId};
pub use unique::unique_keys;

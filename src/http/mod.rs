//! What every handler needs and no room owns: bodies, problems, pages.

mod address;
mod body;
mod check;
mod door;
mod etag;
mod free_json;
mod no_route;
mod page;
mod problem;
mod request_id;
mod strict;
mod unique;

pub use address::{ClientAddress, TrustedProxies};
pub use body::{Body, BodyLimit, Query, parse, read_json};
pub use check::{check_text, given};
pub use door::{CallerApp, Quota, door};
pub use etag::{IfMatch, etag, unless_known};
pub use free_json::FreeJson;
pub use no_route::{Templates, no_route};
pub use page::{Page, PageQuery};
pub use problem::ProblemBody;
pub use request_id::RequestId;
pub use unique::unique_keys;

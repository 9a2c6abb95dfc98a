//! The log, types, things, links and lanes in the database.

mod log;
mod things;
mod types;

pub use log::WorkRow;
pub(super) use log::{
    EventRow, Known, NewWork, count, done, forget_fixes, insert, insert_work, known, load, lock, settle, tally, work,
};
pub use things::{Link, Thing};
pub(super) use things::{
    LinkPage, delete_link, delete_thing, insert_links, insert_things, link_page, links_of, put_link, put_thing, save_things,
    thing_page, things_by_ids, things_by_keys,
};
pub(super) use types::{Rule, TypeRow, delete_type, listen, put_type, rules, type_page, types, types_with_schema, users};

/// How many values one `in (…)` takes.
const CHUNK: usize = 400;

//! The story: something happened → the right word to the right person, or silence with its reason.

mod books;
pub mod cap;
pub mod choice;
mod commit;
mod context;
mod decide;
pub mod decision;
mod feedback;
pub mod http;
pub mod input;
pub mod message;
pub mod permission;
pub mod quiet;
pub mod refusal;
mod store;
pub mod terms;
mod trigger;
pub mod value;

pub use books::{Books, books, decide_again, decision_ids};
pub use decide::decide;
pub use decision::{Decision, Outcome};
pub use input::Input;

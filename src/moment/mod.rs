//! The story: something happened → the right word to the right person, or silence with its reason.

mod books;
pub mod cap;
pub mod choice;
mod commit;
mod context;
mod feedback;
mod decide;
pub mod decision;
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

pub use books::{Books, books, decide_again};
pub use decide::decide;
pub use decision::{Decision, Outcome};
pub use input::Input;

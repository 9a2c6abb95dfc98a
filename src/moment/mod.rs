//! The story: something happened → the right word to the right person, or silence with its reason.

mod books;
pub mod cap;
mod care;
pub mod choice;
mod commit;
mod context;
mod decide;
pub mod decision;
mod feedback;
pub mod http;
pub mod input;
mod lane;
mod live;
pub mod message;
pub mod permission;
pub mod personal;
mod question;
pub mod refusal;
mod release;
mod sight;
mod store;
mod supersede;
pub mod terms;
mod trigger;
pub mod value;
mod walk;

pub use books::{Books, books, decide_again, decision_ids};
pub use decide::decide;
pub use decision::{Decision, Outcome};
pub use input::Input;
pub use live::Live;
pub use question::Questions;

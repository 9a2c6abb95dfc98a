//! The story: something happened → the right word to the right person, or silence with its reason.

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
pub mod value;

pub use decide::decide;
pub use decision::{Decision, Outcome};
pub use input::Input;

//! What may be said, to whom, when: moment kinds, offers with their rules and words, campaigns.

pub mod check;
pub mod kind;
pub mod offer;
pub mod plan;
pub mod template;

pub use kind::{Curve, HalfLife, Kind, Scalar, Step, Trigger};
pub use offer::{Class, DeliverBy, Offer};
pub use plan::{Campaign, Cap, Devices, LocalTime, Mode, Schedule, Start, Status, When};
pub use template::{Template, Variant};

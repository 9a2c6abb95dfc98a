//! What may be said, to whom, when: moment kinds, offers with their rules and words, campaigns.

pub mod check;
pub mod kind;
pub mod offer;
pub mod plan;
pub mod rule;
pub mod template;
pub mod words;

pub use crate::app::Cap;
pub use kind::{Curve, HalfLife, Kind, Scalar, Step, Trigger};
pub use offer::{Class, DeliverBy, Offer};
pub use plan::{Campaign, Devices, LocalTime, Mode, Schedule, Start, Status, When};
pub use rule::{Name, Rule, RuleFailure, Sample, Scope};
pub use template::{Template, Variant};
pub use words::{Known, RenderFailure, Rendered, Words};

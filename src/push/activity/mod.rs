//! Live Activities: what goes on for somebody, shown on the lock screen and kept up to date there.

mod frame;

pub use frame::{Alert, BROADCAST_LIMIT_BYTES, Event, Frame, FrameIn, PAYLOAD_LIMIT_BYTES, Start, attributes_type};

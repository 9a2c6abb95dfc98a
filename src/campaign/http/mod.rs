//! `/v1/moment-kinds`, `/v1/offers`, `/v1/campaigns`: what may be said, managed by the app's own servers.

pub mod campaigns;
pub mod kinds;
pub mod offers;

//! What may be said, to whom, when: moment kinds, offers with their rules and words, campaigns.

mod catalogue;
pub mod check;
mod declared;
pub mod http;
pub mod kind;
mod life;
pub mod offer;
pub mod plan;
pub mod rule;
mod run;
mod store;
pub mod template;
pub mod words;

pub use crate::app::Cap;
pub use catalogue::{Catalogue, LiveCampaign, LiveKind, LiveOffer, Snapshot};
pub use kind::{Curve, HalfLife, Kind, Scalar, Step, Trigger};
pub use life::Action;
pub use offer::{Class, DeliverBy, Offer};
pub use plan::{Campaign, Devices, LocalTime, Mode, Schedule, Start, Status, When};
pub use rule::{Name, Rule, RuleFailure, Sample, Scope};
pub use run::{EVERYBODY, Run, next_run_ms, run_advance, runs_due};
pub use template::{Template, Variant};
pub use words::{Known, RenderFailure, Rendered, Words};

use crate::error::Result;
use crate::id::{AppId, CampaignId, OfferId};
use crate::store::Conn;
use std::collections::HashMap;

/// Keeps what an app may say as it is until the transaction ends; false when it is no longer at this revision of a
/// [`Snapshot`]. Decisions are written under it: a campaign that was paused meanwhile must not speak after its queued
/// messages were cancelled.
///
/// # Errors
/// What the database says.
pub fn hold_still(conn: &mut Conn, app: AppId, revision: i64) -> Result<bool> {
    store::hold(conn, app, revision)
}

/// Where a campaign stands.
///
/// # Errors
/// 404.
pub fn status(conn: &mut Conn, app: AppId, id: CampaignId) -> Result<Status> {
    store::campaigns::get(conn, app, id)?.status()
}

/// Takes from the stock of these offers, each alone: whether it had so much. Every choice takes, also from an offer
/// without a stock, so that a stock set later counts them. Never more than the stock is taken, on any number of nodes.
///
/// # Errors
/// What the database says.
pub fn reserve_stock(conn: &mut Conn, app: AppId, wanted: &[(OfferId, i64)]) -> Result<Vec<bool>> {
    wanted.iter().map(|one| store::offers::reserve(conn, app, *one)).collect()
}

/// Gives back what [`reserve_stock`] took.
///
/// # Errors
/// What the database says; when more is given back than was taken.
pub fn release_stock(conn: &mut Conn, app: AppId, taken: &[(OfferId, i64)]) -> Result<()> {
    taken.iter().try_for_each(|one| store::offers::release(conn, app, *one))
}

/// How many may still be chosen of these offers; absent in the answer: without end.
///
/// # Errors
/// What the database says.
pub fn stock_left(conn: &mut Conn, app: AppId, offers: &[OfferId]) -> Result<HashMap<OfferId, i64>> {
    store::offers::stock_left(conn, app, offers)
}

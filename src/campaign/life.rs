//! A campaign's life: published, paused, resumed, ended, and what each step takes with it.

use super::store::{self, campaigns, campaigns::CampaignRow, runs};
use super::{Status, run};
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId};
use crate::push::outbox;
use crate::store::Conn;

/// A step of a campaign's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A draft begins to speak.
    Publish,
    /// It falls silent for now.
    Pause,
    /// It speaks again.
    Resume,
    /// It falls silent for good.
    End,
}

impl Status {
    /// Where a step leads, if it may be taken from here.
    pub fn after(self, action: Action) -> Option<Self> {
        match (self, action) {
            (Self::Draft, Action::Publish) | (Self::Paused, Action::Resume) => Some(Self::Live),
            (Self::Live, Action::Pause) => Some(Self::Paused),
            (Self::Live | Self::Paused, Action::End) => Some(Self::Ended),
            (Self::Draft, Action::Pause | Action::Resume | Action::End)
            | (Self::Live, Action::Publish | Action::Resume)
            | (Self::Paused, Action::Publish | Action::Pause)
            | (Self::Ended, Action::Publish | Action::Pause | Action::Resume | Action::End) => None,
        }
    }
}

/// Takes a step. Publishing checks what the campaign names and makes its runs; pausing and ending cancel what is queued
/// in the same transaction.
///
/// # Errors
/// 404; 409 `wrong_status`; 400 when something that it names is gone; what the database says.
pub fn act(conn: &mut Conn, (app, id): (AppId, CampaignId), action: Action, now_ms: i64) -> Result<()> {
    let old = campaigns::get(conn, app, id)?;
    let status = old.status()?;
    let Some(next) = status.after(action) else {
        return Err(Error::conflict("wrong_status", format!("The campaign is {}; this step cannot be taken.", status.name())));
    };
    // Before anything is cancelled: who decides meanwhile under `hold_still` either is done by now, and its messages are
    // among the queued ones, or finds the catalogue changed.
    store::touch(conn, app)?;
    match action {
        Action::Publish => {
            old.spec.0.check_names(conn, app)?;
            run::open(conn, app, (id, &old.spec.0), now_ms)?;
        }
        Action::Resume => {}
        Action::Pause => {
            outbox::cancel_campaign(conn, app, id, now_ms)?;
        }
        Action::End => {
            outbox::cancel_campaign(conn, app, id, now_ms)?;
            runs::cancel(conn, app, id)?;
        }
    }
    let row = CampaignRow { status: next.name().to_owned(), revision: old.revision + 1, updated_ms: now_ms, ..old };
    campaigns::update(conn, &row)
}

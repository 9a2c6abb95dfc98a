//! A campaign's life: published, paused, resumed, ended, and what each step takes with it.

use super::store::{campaigns, campaigns::CampaignRow, runs};
use super::{Status, run};
use crate::error::{Error, Result};
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

/// Takes a step from where the campaign stands; call it once [`super::store::touch`] keeps that still: of two steps at once the
/// later one then sees where the earlier one led, and who decides meanwhile under `hold_still` either is done by now, and
/// its messages are among the queued ones, or finds the catalogue changed. Publishing checks what the campaign names and makes its runs; pausing and ending cancel what is queued
/// in the same transaction.
///
/// # Errors
/// 409 `wrong_status`; 400 when something that it names is gone; what the database says.
pub(super) fn act(conn: &mut Conn, old: CampaignRow, action: Action, now_ms: i64) -> Result<CampaignRow> {
    let (app, id, status) = (old.app_id, old.id, old.status()?);
    let Some(next) = status.after(action) else {
        return Err(Error::conflict("wrong_status", format!("The campaign is {}; this step cannot be taken.", status.name())));
    };
    match action {
        Action::Publish => {
            old.spec.0.check_names(conn, app)?;
            run::open(conn, app, (id, &old.spec.0), now_ms)?;
        }
        Action::Resume => {}
        Action::Pause => {
            outbox::cancel_campaign(conn, app, (id, "campaign_stopped"), now_ms)?;
        }
        Action::End => {
            outbox::cancel_campaign(conn, app, (id, "campaign_stopped"), now_ms)?;
            runs::cancel(conn, app, id)?;
        }
    }
    let row = CampaignRow { status: next.name().to_owned(), revision: old.revision + 1, updated_ms: now_ms, ..old };
    campaigns::update(conn, &row)?;
    Ok(row)
}

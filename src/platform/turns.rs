//! Turns at work that keeps a core busy: few at once, and few of one app in line, so that the rush of one is not everybody's.

use crate::error::{Error, Result};
use crate::id::AppId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Of one app at work or in line.
const IN_LINE_MAX: usize = 8;

/// See above.
pub struct Turns {
    permits: Semaphore,
    in_line: Mutex<BTreeMap<AppId, usize>>,
}

/// A turn, until it is dropped.
pub struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    _place: Place<'a>,
}

/// A place in the line.
struct Place<'a>(&'a Turns, AppId);

impl Turns {
    /// So many at once.
    pub const fn new(at_once: usize) -> Self {
        Self { permits: Semaphore::const_new(at_once), in_line: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for a turn; those who came first are first.
    ///
    /// # Errors
    /// `Busy` when too many of this app are in line.
    pub async fn take(&self, app: AppId) -> Result<Turn<'_>> {
        let place = self.stand_in_line(app)?;
        let permit = self.permits.acquire().await.map_err(Error::broken)?;
        Ok(Turn { _permit: permit, _place: place })
    }

    fn stand_in_line(&self, app: AppId) -> Result<Place<'_>> {
        let mut in_line = self.in_line.lock().unwrap_or_else(PoisonError::into_inner);
        let own = in_line.entry(app).or_default();
        if *own >= IN_LINE_MAX {
            return Err(Error::Busy("many checks of this app wait already"));
        }
        *own += 1;
        Ok(Place(self, app))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut in_line = self.0.in_line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = in_line.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                in_line.remove(&self.1);
            }
        }
    }
}

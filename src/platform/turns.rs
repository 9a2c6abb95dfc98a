//! Turns at work that keeps a core busy: few at once, and one of each app, so that the rush of one is not everybody's.

use crate::error::{Error, Result};
use crate::id::AppId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Of one app at work or in line.
const IN_LINE_MAX: usize = 256;

/// See above.
pub struct Turns {
    permits: Semaphore,
    lines: Mutex<BTreeMap<AppId, Line>>,
}

/// Those of one app: the first of them stands in the line of all apps, the others behind it.
struct Line {
    first: Arc<Semaphore>,
    length: usize,
}

/// A turn, until it is dropped.
pub struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    _first: OwnedSemaphorePermit,
    _place: Place<'a>,
}

/// A place in the line of an app.
struct Place<'a>(&'a Turns, AppId);

impl Turns {
    /// So many at once.
    pub const fn new(at_once: usize) -> Self {
        Self { permits: Semaphore::const_new(at_once), lines: Mutex::new(BTreeMap::new()) }
    }

    /// Waits for a turn; of one app those who came first are first.
    ///
    /// # Errors
    /// `Busy` when very many of this app are in line.
    pub async fn take(&self, app: AppId) -> Result<Turn<'_>> {
        let (place, first) = self.stand_in_line(app)?;
        let first = first.acquire_owned().await.map_err(Error::broken)?;
        let permit = self.permits.acquire().await.map_err(Error::broken)?;
        Ok(Turn { _permit: permit, _first: first, _place: place })
    }

    fn stand_in_line(&self, app: AppId) -> Result<(Place<'_>, Arc<Semaphore>)> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(app).or_insert_with(|| Line { first: Arc::new(Semaphore::new(1)), length: 0 });
        if line.length >= IN_LINE_MAX {
            return Err(Error::Busy("many checks of this app wait already"));
        }
        line.length += 1;
        Ok((Place(self, app), Arc::clone(&line.first)))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.1) {
            line.length -= 1;
            if line.length == 0 {
                lines.remove(&self.1);
            }
        }
    }
}

//! The places of every app in memory, as new as the database at each use.

use super::Place;
use super::index::Index;
use super::store;
use crate::error::Result;
use crate::id::AppId;
use crate::store::Conn;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One index per app, loaded when it is first used and when a place has changed; cheap to clone.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<AppId, (i64, Arc<Index>)>>>);

impl Places {
    /// The app's index as of this transaction.
    ///
    /// # Errors
    /// What the database says.
    pub fn index(&self, conn: &mut Conn, app: AppId) -> Result<Arc<Index>> {
        let revision = store::revision(conn, app)?;
        if let Some((known, index)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&app)
            && *known == revision
        {
            return Ok(Arc::clone(index));
        }
        let all: Vec<Place> = if revision == 0 { Vec::new() } else { store::all(conn, app)? };
        let index = Arc::new(Index::new(all));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(app, (revision, Arc::clone(&index)));
        Ok(index)
    }
}

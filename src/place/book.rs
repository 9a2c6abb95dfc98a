//! The places of every app in memory, as new as the database at each use.

use super::index::Index;
use super::store;
use crate::error::Result;
use crate::id::AppId;
use crate::store::{Conn, beside_others};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The revision that an index is as new as, and the index; nothing until it is first used.
type Shelf = Arc<Mutex<Option<(i64, Arc<Index>)>>>;

/// One index per app, loaded when it is first used; later the places that changed since are read alone. Cheap to clone.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<AppId, Shelf>>>);

impl Places {
    /// The app's index, as new as this transaction at least. Who comes while it is being loaded waits and shares it.
    ///
    /// # Errors
    /// What the database says.
    pub fn index(&self, conn: &mut Conn, app: AppId) -> Result<Arc<Index>> {
        let revision = store::revision(conn, app)?;
        let shelf = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(app).or_default());
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match &*shelf {
            Some((known, _)) if *known < revision => store::changed(conn, app, *known..revision)?,
            Some((_, index)) => return Ok(Arc::clone(index)),
            None => None,
        };
        let index = match (changed, &mut *shelf) {
            (Some(changed), Some((_, shelved))) => {
                let now = store::by_ids(conn, app, &changed)?;
                // What others have changed in this transaction may yet be undone: it is left out of what is kept.
                let mut own = beside_others().then(|| Arc::clone(shelved));
                let index = own.as_mut().unwrap_or(shelved);
                if !changed.is_empty() {
                    // Nobody looks into it as a rule, and nothing is copied.
                    let index = Arc::make_mut(index);
                    changed.into_iter().for_each(|id| index.remove(id));
                    now.into_iter().for_each(|place| index.put(place));
                }
                Arc::clone(index)
            }
            (None, _) | (_, None) => Arc::new(Index::new(if revision == 0 { Vec::new() } else { store::all(conn, app)? })),
        };
        if !beside_others() {
            *shelf = Some((revision, Arc::clone(&index)));
        }
        Ok(index)
    }
}

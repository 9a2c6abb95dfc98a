//! The set of sends in flight, by user: a withdrawal of consent closes it and waits until it is empty.
//!
//! The order that makes it exact: a sender enters the fence *before* it reads the consent epoch; a withdrawal commits
//! the new epoch *before* it closes the fence. So a sender either reads the new epoch, or is in the set when the
//! withdrawal looks. A sender whose fence was closed lets go of the message instead of handing it over.

use super::Platform;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::store::Conn;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Sends in flight, by user; cheap to clone.
#[derive(Clone, Default)]
pub struct Fence(Arc<Inner>);

type Flights = HashMap<(AppId, UserId), Vec<Arc<Signals>>>;

/// What a send in flight and those who wait for it tell each other.
#[derive(Default)]
struct Signals {
    /// It is to let go.
    closed: AtomicBool,
    /// It has been handed over or let go.
    landed: AtomicBool,
}

#[derive(Default)]
struct Inner {
    flights: Mutex<Flights>,
    landed: Notify,
}

/// One send in flight; dropping it says that it has been handed over or let go.
pub struct Flight {
    fence: Fence,
    key: (AppId, UserId),
    signals: Arc<Signals>,
}

/// Whose sends in flight are to let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those to these users.
    Users(Vec<UserId>),
    /// Those to every user of the app.
    All,
}

impl Platform {
    /// Writes what takes something away from sends in flight, and answers once each of them has been handed over or let
    /// go. They are told as soon as it is on disk, when `then` is run too, also when the caller has gone away by then.
    ///
    /// # Errors
    /// What the closure returns; what the database says.
    pub async fn write_and_fence<T: Send + 'static>(
        &self,
        app: AppId,
        write: impl FnOnce(&mut Conn) -> Result<(T, Whose)> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        let fence = self.fence.clone();
        let committed = self.store.write_then(write, move |(done, whose)| {
            fence.close(app, whose);
            then(done);
        });
        let (done, whose) = committed.await?;
        self.fence.drained(app, &whose).await;
        Ok(done)
    }
}

impl Fence {
    /// Enters a send to this user. Call it before the consent epoch is read.
    pub fn enter(&self, app: AppId, user: UserId) -> Flight {
        let signals = Arc::<Signals>::default();
        self.flights().entry((app, user)).or_default().push(Arc::clone(&signals));
        Flight { fence: self.clone(), key: (app, user), signals }
    }

    /// Tells the sends in flight to let go. Call it after the new epoch is committed.
    fn close(&self, app: AppId, whose: &Whose) {
        for flight in self.of(app, whose) {
            flight.closed.store(true, Ordering::SeqCst);
        }
    }

    /// Waits until every one of these sends that is in flight now has been handed over or let go.
    async fn drained(&self, app: AppId, whose: &Whose) {
        let waiting = self.of(app, whose);
        loop {
            let landed = self.0.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            if waiting.iter().all(|flight| flight.landed.load(Ordering::SeqCst)) {
                return;
            }
            landed.await;
        }
    }

    /// The sends of these users that are in flight now.
    fn of(&self, app: AppId, whose: &Whose) -> Vec<Arc<Signals>> {
        let flights = self.flights();
        match whose {
            Whose::Users(users) => users.iter().filter_map(|user| flights.get(&(app, *user))).flatten().cloned().collect(),
            Whose::All => flights.iter().filter(|((of, _), _)| *of == app).flat_map(|(_, all)| all).cloned().collect(),
        }
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, Flights> {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Whether the message may still be handed over. Ask it right before, with no await in between.
    pub fn may_go(&self) -> bool {
        !self.signals.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.fence.flights();
        if let Some(of_user) = flights.get_mut(&self.key) {
            of_user.retain(|f| !Arc::ptr_eq(f, &self.signals));
            if of_user.is_empty() {
                flights.remove(&self.key);
            }
        }
        drop(flights);
        self.signals.landed.store(true, Ordering::SeqCst);
        self.fence.0.landed.notify_waiters();
    }
}

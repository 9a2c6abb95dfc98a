//! The set of sends in flight, by user: a withdrawal of consent closes it and waits until it is empty.
//!
//! The order that makes it exact: a sender enters the fence *before* it reads the consent epoch; a withdrawal commits
//! the new epoch *before* it closes the fence. So a sender either reads the new epoch, or is in the set when the
//! withdrawal looks. A sender whose fence was closed lets go of the message instead of handing it over.

use crate::id::{AppId, UserId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Sends in flight, by user; cheap to clone.
#[derive(Clone, Default)]
pub struct Fence(Arc<Inner>);

/// Whether each send in flight has been told to let go.
type Flights = HashMap<(AppId, UserId), Vec<Arc<AtomicBool>>>;

#[derive(Default)]
struct Inner {
    flights: Mutex<Flights>,
    landed: Notify,
}

/// One send in flight; dropping it says that it has been handed over or let go.
pub struct Flight {
    fence: Fence,
    key: (AppId, UserId),
    closed: Arc<AtomicBool>,
}

impl Fence {
    /// Enters a send to this user. Call it before the consent epoch is read.
    pub fn enter(&self, app: AppId, user: UserId) -> Flight {
        let closed = Arc::new(AtomicBool::new(false));
        self.flights().entry((app, user)).or_default().push(Arc::clone(&closed));
        Flight { fence: self.clone(), key: (app, user), closed }
    }

    /// Tells all sends in flight to this user to let go. Call it after the new epoch is committed.
    pub fn close(&self, app: AppId, user: UserId) {
        if let Some(flights) = self.flights().get(&(app, user)) {
            flights.iter().for_each(|closed| closed.store(true, Ordering::SeqCst));
        }
    }

    /// Waits until every send of this user that is in flight now has been handed over or let go.
    pub async fn drained(&self, app: AppId, user: UserId) {
        let waiting: Vec<Arc<AtomicBool>> = self.flights().get(&(app, user)).cloned().unwrap_or_default();
        loop {
            let landed = self.0.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            let still = {
                let flights = self.flights();
                flights.get(&(app, user)).is_some_and(|now| now.iter().any(|f| waiting.iter().any(|w| Arc::ptr_eq(f, w))))
            };
            if !still {
                return;
            }
            landed.await;
        }
    }

    /// As [`Fence::close`], for every user of an app.
    pub fn close_app(&self, app: AppId) {
        for (_, flights) in self.flights().iter().filter(|((of, _), _)| *of == app) {
            flights.iter().for_each(|closed| closed.store(true, Ordering::SeqCst));
        }
    }

    /// As [`Fence::drained`], for every user of an app.
    pub async fn drained_app(&self, app: AppId) {
        let users: Vec<UserId> = self.flights().keys().filter(|(of, _)| *of == app).map(|(_, user)| *user).collect();
        for user in users {
            self.drained(app, user).await;
        }
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, Flights> {
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Whether the message may still be handed over. Ask it right before, with no await in between.
    pub fn may_go(&self) -> bool {
        !self.closed.load(Ordering::SeqCst)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.fence.flights();
        if let Some(of_user) = flights.get_mut(&self.key) {
            of_user.retain(|f| !Arc::ptr_eq(f, &self.closed));
            if of_user.is_empty() {
                flights.remove(&self.key);
            }
        }
        drop(flights);
        self.fence.0.landed.notify_waiters();
    }
}

//! The age gate of an app, and what was said of its users' ages.

use super::age::{Age, Stated};
use super::law::Ledger;
use super::{Source, store};
use crate::app::{AgeGate, settings};
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, UserId};
use crate::platform::epoch;
use crate::store::Conn;
use std::collections::HashMap;

/// How a user stands with the gate of their app.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The gate.
    pub gate: AgeGate,
    /// What was said of the user.
    pub stated: Option<Stated>,
}

impl Gate {
    /// Whether and from when on the user may consent for themselves.
    pub fn age(&self) -> Age {
        Age::at(&self.gate, self.stated.as_ref())
    }
}

/// The refusal of a grant by somebody who may not consent for themselves.
pub(super) fn refusal() -> Error {
    let detail = "This user has not said how old they are, or is below the age at which people consent for themselves. \
                  State the age at POST /v1/me/age; below it the app's server can bring in a guardian's consent at \
                  POST /v1/users/{id}/consents with \"guardian\": true and its evidence.";
    Problem::new(403, "age_gate", detail).into()
}

/// Fills in the ages of users, where the app has a gate.
pub(super) fn judge(conn: &mut Conn, app: AppId, ledgers: &mut HashMap<UserId, Ledger>) -> Result<()> {
    let Some(gate) = settings(conn, app)?.age_gate else { return Ok(()) };
    let users: Vec<UserId> = ledgers.keys().copied().collect();
    let stated = store::ages(conn, app, &users)?;
    for (user, ledger) in ledgers {
        ledger.age = Age::at(&gate, stated.get(user));
    }
    Ok(())
}

/// How a user stands with the gate; nothing when the app has none.
///
/// # Errors
/// What the database says.
pub fn gate(conn: &mut Conn, app: AppId, user: UserId) -> Result<Option<Gate>> {
    let Some(gate) = settings(conn, app)?.age_gate else { return Ok(None) };
    let stated = store::ages(conn, app, &[user])?.remove(&user);
    Ok(Some(Gate { gate, stated }))
}

/// Keeps what was said of a user's age, and moves the user's consent epoch. What users said themselves counts once: only
/// the app's server can say otherwise. The caller writes with
/// [`Platform::write_and_fence`](crate::platform::Platform::write_and_fence).
///
/// # Errors
/// 409 `no_age_gate` when the app does not ask, `age_stated` when the user says something else than before.
pub fn state_age(conn: &mut Conn, (app, user): (AppId, UserId), stated: Stated, source: Source) -> Result<Gate> {
    // First of all: two statements at once follow one another.
    epoch::bump(conn, app, epoch::Scope::Consent(user))?;
    let Some(known) = gate(conn, app, user)? else {
        return Err(Error::conflict("no_age_gate", "This app has no age gate: nothing was kept."));
    };
    let now_ms = stated.stated_ms;
    if source == Source::User && known.age() != Age::Unstated {
        let before = known.age();
        let same = before == Age::From(stated.of_age_ms) || before.reached(now_ms) && stated.of_age_ms <= now_ms;
        if same {
            return Ok(known);
        }
        let detail = "Another age was stated before; the app's server can correct it at POST /v1/users/{id}/age.";
        return Err(Error::conflict("age_stated", detail));
    }
    store::put_age(conn, (app, user), &stated, source)?;
    Ok(Gate { stated: Some(stated), ..known })
}

//! Operators: the people who run apps. They belong to the installation, with one role per app, and always sign in with a
//! second factor.
//!
//! An operator begins with an invitation, which sets the password; the first sign-in then makes them enrol a second
//! factor, the next one opens a session. Whatever is wrong with an attempt, the answer is the same, and each costs exactly
//! one password hash.

mod attempts;
mod invite;
mod role;
mod session;
mod sign_in;
pub(super) mod store;
mod totp;

pub use invite::{Invitation, Invited, Newcomer, accept, appoint, disable, invite, list, reset};
pub use role::Role;
pub use session::{Operator, OperatorToken};
pub(super) use session::{begin_as_operator, is_operator_token};
pub use sign_in::{Attempt, Enrolment, Opened, SignedIn, enrol, sign_in, sign_out};
pub use totp::accepted_step;

use super::key::{hash, hex};
use crate::audit::{self, Entry};
use crate::config::Secret;
use crate::error::Result;
use crate::id::{Ids, OperatorId};
use crate::store::Conn;

/// Random bytes of a token: 160 bits.
const TOKEN_BYTES: usize = 20;

/// A new token and what is stored of it.
fn make_token(ids: &Ids, letters: &str) -> (Secret, String) {
    let text = format!("{letters}_{}", hex(&ids.bytes::<TOKEN_BYTES>()));
    let hash = hash(&text);
    (Secret::new(text), hash)
}

/// Appends to the log of every app in which the operator has a role, or to the installation's own.
fn log(conn: &mut Conn, id: OperatorId, entry: &Entry) -> Result<()> {
    let posts = store::posts(conn, id)?;
    if posts.is_empty() {
        return audit::append(conn, None, entry.clone());
    }
    // In the order of the apps' ids, as everybody who appends to several does: so nobody waits in a circle.
    posts.iter().try_for_each(|post| audit::append(conn, Some(post.app_id), entry.clone()))
}

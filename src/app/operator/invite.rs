//! Who becomes an operator, and what they are in an app.

use super::role::Role;
use super::store::{self, By, OperatorRow, Post};
use super::{log, make_token};
use crate::app::key::hash;
use crate::audit::{Actor, Entry};
use crate::clock::DAY_MS;
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::check_text;
use crate::id::{AppId, Ids, OperatorId};
use crate::platform::Platform;
use crate::store::Conn;

/// How long an invitation can be accepted, in milliseconds.
const INVITATION_MS: i64 = DAY_MS;
/// Longest e-mail address, in characters.
const EMAIL_MAX: usize = 254;
/// Longest name, in characters.
const NAME_MAX: usize = 100;
/// Fewest characters of a password, which never stands alone.
const PASSWORD_MIN: usize = 12;
/// Most characters of a password.
pub(super) const PASSWORD_MAX: usize = 256;

/// Somebody who is to run an app.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The app.
    pub app_id: AppId,
    /// What they will be in it.
    pub role: Role,
    /// Their address, in any case.
    pub email: String,
    /// Their name.
    pub name: String,
}

/// A token that sets the password once; it is shown once and stored nowhere.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The token.
    pub token: Secret,
    /// From when on it is refused, in UTC milliseconds.
    pub expires_ms: i64,
}

/// What [`invite`] did.
#[derive(Debug, Clone)]
pub struct Invited {
    /// The operator.
    pub id: OperatorId,
    /// Absent for who has a password already.
    pub invitation: Option<Invitation>,
}

/// The form of an address in which it is stored and compared.
pub(super) fn check_email(text: &str) -> Result<String> {
    check_text("email", text, EMAIL_MAX)?;
    let email = text.to_lowercase();
    let is_one = email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'));
    if !is_one || email.chars().any(char::is_whitespace) {
        return Err(Error::invalid("email", "invalid", "expected an e-mail address such as ada@example.com"));
    }
    Ok(email)
}

/// Makes an operator, and gives them a role in an app.
///
/// Whoever holds the invitation becomes that person. So an address that is known already gets its role only from the
/// machine itself (`by` a command), never from an app's owner, who would get into other apps by it.
///
/// # Errors
/// 400 that names the field; 409 `operator_exists`; what the database says.
pub fn invite(conn: &mut Conn, ids: &Ids, (now_ms, by): (i64, Actor), newcomer: Newcomer) -> Result<Invited> {
    let email = check_email(&newcomer.email)?;
    check_text("name", &newcomer.name, NAME_MAX)?;
    // Two invitations of one address at once take turns.
    conn.serialise(&format!("operator-email:{email}"))?;
    let known = store::find(conn, By::Email(&email))?;
    if known.is_some() && by != Actor::Command {
        let detail = "This address is an operator's already; on the machine itself, `kairos operator create` can give them a role here too.";
        return Err(Error::conflict("operator_exists", detail));
    }
    let known = known.map(|row| store::hold(conn, row.id)).transpose()?;
    let is_new = known.is_none();
    let mut row = known.unwrap_or_else(|| OperatorRow {
        id: ids.next(),
        email,
        name: newcomer.name,
        password_hash: None,
        invite_hash: None,
        invite_expires_ms: None,
        enrol_hash: None,
        enrol_sealed: None,
        enrol_expires_ms: None,
        totp_sealed: None,
        totp_step: 0,
        created_ms: now_ms,
        disabled_ms: None,
    });
    let invitation = row.password_hash.is_none().then(|| invitation(ids, now_ms, &mut row));
    if is_new {
        store::insert(conn, &row)?
    } else {
        store::update(conn, &row)?
    }
    let post = Post { app_id: newcomer.app_id, role: newcomer.role, disabled: false };
    if let Some(old) = store::post(conn, post.app_id, row.id)? {
        keep_an_owner(conn, old, post)?;
    }
    store::set_post(conn, row.id, (post, now_ms))?;
    Ok(Invited { id: row.id, invitation })
}

fn invitation(ids: &Ids, now_ms: i64, row: &mut OperatorRow) -> Invitation {
    let (token, token_hash) = make_token(ids, "oi");
    let expires_ms = now_ms + INVITATION_MS;
    (row.invite_hash, row.invite_expires_ms) = (Some(token_hash), Some(expires_ms));
    Invitation { token, expires_ms }
}

/// Changes what an operator is in an app, or suspends them there. Answers what they were.
///
/// # Errors
/// 404; 409 `last_owner`; what `allowed` says of the old and the new role; what the database says.
pub fn appoint(
    conn: &mut Conn,
    app: AppId,
    (id, now_ms): (OperatorId, i64),
    (role, disabled): (Option<Role>, Option<bool>),
    allowed: impl Fn(Role) -> Result<()>,
) -> Result<()> {
    let old = store::post(conn, app, id)?.ok_or_else(|| Error::not_found("operator"))?;
    let new = Post { app_id: app, role: role.unwrap_or(old.role), disabled: disabled.unwrap_or(old.disabled) };
    allowed(old.role)?;
    allowed(new.role)?;
    keep_an_owner(conn, old, new)?;
    store::set_post(conn, id, (new, now_ms))
}

/// An app that had an owner keeps one.
fn keep_an_owner(conn: &mut Conn, old: Post, new: Post) -> Result<()> {
    let owns = |post: Post| post.role == Role::Owner && !post.disabled;
    if owns(old) && !owns(new) && store::owners_held(conn, old.app_id)? <= 1 {
        return Err(Error::conflict("last_owner", "This is the app's last owner; make somebody else one first."));
    }
    Ok(())
}

/// Sets the password of who holds the invitation, once.
///
/// # Errors
/// 400 that names `password`; 401 `invalid_invitation`; 503; what the database says.
pub async fn accept(platform: &Platform, token: &Secret, password: Secret) -> Result<()> {
    let length = password.expose().chars().count();
    if length < PASSWORD_MIN {
        return Err(Error::invalid("password", "too_short", format!("needs at least {PASSWORD_MIN} characters")));
    }
    if length > PASSWORD_MAX {
        return Err(Error::invalid("password", "too_long", format!("may have at most {PASSWORD_MAX} characters")));
    }
    let refused = || Error::from(Problem::new(401, "invalid_invitation", "The invitation is unknown, was used, or has expired."));
    let (invite_hash, now_ms) = (hash(token.expose()), platform.clock.now_ms());
    let invited = move |conn: &mut Conn| {
        let found = store::find(conn, By::Invite(&invite_hash))?;
        found.filter(|row| row.invite_expires_ms.is_some_and(|end_ms| now_ms < end_ms)).ok_or_else(refused)
    };
    // Looked up first: a token that is none costs no hash.
    let row = platform.store.read(invited.clone()).await?;
    let password_hash = platform.hasher.hash(None, password, salt(platform, &row.email)).await?;
    let set = move |conn: &mut Conn| {
        store::hold(conn, row.id)?;
        let mut row = invited(conn)?;
        (row.invite_hash, row.invite_expires_ms, row.password_hash) = (None, None, Some(password_hash));
        store::update(conn, &row)?;
        store::end_sessions(conn, row.id)?;
        log(conn, row.id, &Entry::new(now_ms, Actor::Operator(row.id), "operator.accept").on(row.id))
    };
    platform.store.write(set).await
}

/// The salt of an address: a keyed hash, so that it is there before anything is looked up.
pub(super) fn salt(platform: &Platform, email: &str) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.copy_from_slice(&platform.master_key.derive("operator salt", email.as_bytes())[..16]);
    salt
}

/// Begins anew: the password, the second factor and all sessions are gone, and a new invitation is made. Who was disabled
/// is not any more.
///
/// # Errors
/// 404 when nobody has this address; what the database says.
pub fn reset(conn: &mut Conn, ids: &Ids, now_ms: i64, email: &str) -> Result<Invited> {
    let mut row = held(conn, email)?;
    let invitation = invitation(ids, now_ms, &mut row);
    (row.password_hash, row.totp_sealed, row.disabled_ms) = (None, None, None);
    (row.enrol_hash, row.enrol_sealed, row.enrol_expires_ms) = (None, None, None);
    store::update(conn, &row)?;
    store::set_recovery_codes(conn, row.id, &[])?;
    store::end_sessions(conn, row.id)?;
    log(conn, row.id, &Entry::new(now_ms, Actor::Command, "command operator reset").on(row.id))?;
    Ok(Invited { id: row.id, invitation: Some(invitation) })
}

/// Disables an operator in every app and ends their sessions; [`reset`] lets them in again.
///
/// # Errors
/// 404 when nobody has this address; what the database says.
pub fn disable(conn: &mut Conn, now_ms: i64, email: &str) -> Result<OperatorId> {
    let mut row = held(conn, email)?;
    row.disabled_ms = row.disabled_ms.or(Some(now_ms));
    (row.invite_hash, row.invite_expires_ms) = (None, None);
    store::update(conn, &row)?;
    store::end_sessions(conn, row.id)?;
    log(conn, row.id, &Entry::new(now_ms, Actor::Command, "command operator disable").on(row.id))?;
    Ok(row.id)
}

fn held(conn: &mut Conn, email: &str) -> Result<OperatorRow> {
    let no_one = || Error::from(Problem::new(404, "not_found", "No operator has this e-mail address."));
    let id = store::find(conn, By::Email(&email.to_lowercase()))?.ok_or_else(no_one)?.id;
    store::hold(conn, id)
}

/// A line for each operator of the installation: address, name, state, and role by app.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for row in store::all(conn)? {
        let state = match (row.disabled_ms, &row.password_hash, &row.totp_sealed) {
            (Some(_), _, _) => "disabled",
            (None, None, _) => "invited",
            (None, Some(_), None) => "without a second factor",
            (None, Some(_), Some(_)) => "active",
        };
        let roles: Vec<String> = store::posts(conn, row.id)?
            .iter()
            .map(|post| format!("{} in {}{}", post.role.name(), post.app_id, if post.disabled { " (suspended)" } else { "" }))
            .collect();
        lines.push(format!("{}  {}  {}  {state}  {}", row.id, row.email, row.name, roles.join(", ")));
    }
    Ok(lines)
}

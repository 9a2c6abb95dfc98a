//! Ways into and out of an operator's session: password and code, the first code, sign-out.

use super::attempts::{Who, rejected};
use super::invite::{PASSWORD_MAX, check_email, salt};
use super::store::{self, By, OperatorRow, SessionRow};
use super::totp::{self, RECOVERY_CODES, SECRET_BYTES, accepted_step, recovery_codes, recovery_hash};
use super::{Operator, log, make_token};
use crate::app::key::hash;
use crate::audit::{self, Actor, Entry};
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::http::ClientAddress;
use crate::id::OperatorId;
use crate::platform::Platform;
use crate::store::Conn;

/// How long a session lives, in milliseconds.
const SESSION_MS: i64 = 12 * HOUR_MS;
/// How long a second factor can be confirmed after it was offered, in milliseconds.
const ENROLMENT_MS: i64 = 10 * MINUTE_MS;
/// Longest code, in characters.
const CODE_MAX: usize = 64;

/// What somebody says to sign in.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Their address.
    pub email: String,
    /// Their password.
    pub password: Secret,
    /// The code that their phone shows.
    pub code: Option<Secret>,
    /// A code to recover with, in its place.
    pub recovery_code: Option<Secret>,
}

/// A session that has been opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The session's token, which is shown once and stored nowhere.
    pub token: Secret,
    /// From when on it is refused, in UTC milliseconds.
    pub expires_ms: i64,
    /// Whose it is.
    pub operator: Operator,
}

/// A second factor that is offered.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Confirms it together with its first code.
    pub token: Secret,
    /// What an authenticator app reads from a QR code.
    pub otpauth_uri: Secret,
    /// The same secret in letters.
    pub secret: Secret,
    /// From when on it is refused, in UTC milliseconds.
    pub expires_ms: i64,
}

/// What a right attempt leads to.
#[derive(Debug, Clone)]
pub enum SignedIn {
    /// A session.
    Session(Opened),
    /// Who has no second factor yet must enrol one first.
    Enrol(Enrolment),
}

/// Signs in.
///
/// # Errors
/// 400 that names the field; 401 `invalid_credentials`, the same for all that may be wrong; 429; 503; what the database says.
pub async fn sign_in(platform: &Platform, address: ClientAddress, attempt: Attempt) -> Result<SignedIn> {
    let email = check_email(&attempt.email)?;
    if attempt.password.expose().chars().count() > PASSWORD_MAX {
        return Err(Error::invalid("password", "too_long", format!("may have at most {PASSWORD_MAX} characters")));
    }
    for (field, code) in [("code", &attempt.code), ("recovery_code", &attempt.recovery_code)] {
        if code.as_ref().is_some_and(|code| code.expose().chars().count() > CODE_MAX) {
            return Err(Error::invalid(field, "too_long", format!("may have at most {CODE_MAX} characters")));
        }
    }
    if attempt.code.is_some() && attempt.recovery_code.is_some() {
        return Err(Error::invalid("recovery_code", "invalid", "send a code or a recovery code, not both"));
    }
    let (who, now_ms) = (Who::new(&platform.master_key, &email, address), platform.clock.now_ms());
    let counted = who.clone();
    platform.store.write(move |conn| counted.begin(conn, now_ms)).await?;
    let password_hash = platform.hasher.hash(None, attempt.password.clone(), salt(platform, &email)).await?;
    let shared = platform.clone();
    let judge = move |conn: &mut Conn| {
        let id = store::find(conn, By::Email(&email))?.map(|row| row.id);
        // Read again: nobody else signs this operator in, or begins them anew, until the transaction ends.
        let held = id.map(|id| store::hold(conn, id)).transpose()?;
        let good = held.filter(|row| row.password_hash.as_ref() == Some(&password_hash) && row.disabled_ms.is_none());
        let done = match good {
            Some(row) => enter(conn, &shared, row, (&attempt, now_ms))?,
            None => None,
        };
        match &done {
            Some(_) => who.succeeded(conn)?,
            None => failed(conn, id, now_ms)?,
        }
        // A failure is counted and logged, so it is no error yet.
        Ok(done)
    };
    let done = platform.store.write(judge).await?;
    let outcome = if done.is_some() { "taken" } else { "refused" };
    metrics::counter!("kairos_operator_sign_ins_total", "outcome" => outcome).increment(1);
    done.ok_or_else(rejected)
}

fn failed(conn: &mut Conn, id: Option<OperatorId>, now_ms: i64) -> Result<()> {
    let entry = Entry::new(now_ms, Actor::Nobody, "operator.sign-in.failed");
    match id {
        Some(id) => log(conn, id, &entry.on(id)),
        None => audit::append(conn, None, entry),
    }
}

/// Lets in who has the right password: `None` when the second factor is wrong.
fn enter(conn: &mut Conn, platform: &Platform, row: OperatorRow, (attempt, now_ms): (&Attempt, i64)) -> Result<Option<SignedIn>> {
    let Some(sealed) = &row.totp_sealed else { return offer(conn, platform, row, now_ms).map(SignedIn::Enrol).map(Some) };
    let secret = platform.master_key.open(&context(row.id), sealed)?;
    let taken = match (&attempt.code, &attempt.recovery_code) {
        (Some(code), _) => match accepted_step(&secret, code.expose(), (now_ms, row.totp_step)) {
            Some(step) => store::take_step(conn, row.id, step)?,
            None => false,
        },
        (None, Some(code)) => {
            let hash = recovery_hash(&platform.master_key, &row.id.to_string(), code.expose());
            store::take_recovery_code(conn, row.id, (&hash, now_ms))?
        }
        (None, None) => false,
    };
    if !taken {
        return Ok(None);
    }
    let by = if attempt.code.is_some() { "code" } else { "recovery_code" };
    open(conn, platform, &row, (by, now_ms)).map(SignedIn::Session).map(Some)
}

/// Opens a session and logs how.
fn open(conn: &mut Conn, platform: &Platform, row: &OperatorRow, (by, now_ms): (&str, i64)) -> Result<Opened> {
    let (token, token_hash) = make_token(&platform.ids, "op");
    let expires_ms = now_ms + SESSION_MS;
    store::open_session(
        conn,
        &SessionRow { token_hash, operator_id: row.id, created_ms: now_ms, last_used_ms: now_ms, expires_ms },
    )?;
    let operator = Operator::read(conn, row.id)?;
    log(conn, row.id, &Entry::new(now_ms, Actor::Operator(row.id), "operator.sign-in").on(row.id).with("by", by))?;
    Ok(Opened { token, expires_ms, operator })
}

/// Offers a second factor, in place of one that was offered and not confirmed.
fn offer(conn: &mut Conn, platform: &Platform, mut row: OperatorRow, now_ms: i64) -> Result<Enrolment> {
    let secret = platform.ids.bytes::<SECRET_BYTES>();
    let (token, enrol_hash) = make_token(&platform.ids, "oe");
    let expires_ms = now_ms + ENROLMENT_MS;
    let (otpauth_uri, letters) = totp::provision(&secret, &row.email)?;
    let sealed = platform.master_key.seal(&platform.ids, &context(row.id), &secret)?;
    (row.enrol_hash, row.enrol_sealed, row.enrol_expires_ms) = (Some(enrol_hash), Some(sealed), Some(expires_ms));
    store::update(conn, &row)?;
    log(conn, row.id, &Entry::new(now_ms, Actor::Operator(row.id), "operator.enrolment-offered").on(row.id))?;
    Ok(Enrolment { token, otpauth_uri, secret: letters, expires_ms })
}

/// Where a sealed secret belongs: it cannot be moved to another operator.
fn context(id: OperatorId) -> String {
    format!("operators {id} totp")
}

/// Confirms the offered second factor with its first code, and opens a session. The recovery codes are shown once.
///
/// # Errors
/// 401 `invalid_enrolment`; 400 that names `code`; what the database says.
pub async fn enrol(platform: &Platform, token: &Secret, code: Secret) -> Result<(Opened, Vec<String>)> {
    let (enrol_hash, now_ms, shared) = (hash(token.expose()), platform.clock.now_ms(), platform.clone());
    let confirm = move |conn: &mut Conn| {
        let refused =
            || Problem::new(401, "invalid_enrolment", "The enrolment is unknown, was confirmed, or has expired; sign in again.");
        let found = store::find(conn, By::Enrolment(&enrol_hash))?.ok_or_else(refused)?;
        let mut row = store::hold(conn, found.id)?;
        let in_time = row.enrol_expires_ms.is_some_and(|end_ms| now_ms < end_ms);
        if row.enrol_hash.as_ref() != Some(&enrol_hash) || !in_time || row.disabled_ms.is_some() || row.totp_sealed.is_some() {
            return Err(refused().into());
        }
        let sealed = row.enrol_sealed.take().ok_or_else(refused)?;
        let secret = shared.master_key.open(&context(row.id), &sealed)?;
        let step = accepted_step(&secret, code.expose(), (now_ms, 0));
        let wrong = || Error::invalid("code", "invalid", "this is not the code that the authenticator app shows now");
        row.totp_step = step.ok_or_else(wrong)?;
        row.totp_sealed = Some(sealed);
        (row.enrol_hash, row.enrol_expires_ms) = (None, None);
        store::update(conn, &row)?;
        let codes = recovery_codes(std::array::from_fn::<_, RECOVERY_CODES, _>(|_| shared.ids.bytes()));
        let id = row.id.to_string();
        let hashes: Vec<String> = codes.iter().map(|code| recovery_hash(&shared.master_key, &id, code)).collect();
        store::set_recovery_codes(conn, row.id, &hashes)?;
        Ok((open(conn, &shared, &row, ("enrolment", now_ms))?, codes))
    };
    platform.store.write(confirm).await
}

/// Ends a session: from this answer on its token is refused.
///
/// # Errors
/// What the database says.
pub async fn sign_out(platform: &Platform, token: &super::OperatorToken) -> Result<()> {
    let (id, token_hash, now_ms) = (token.operator_id, token.token_hash.clone(), platform.clock.now_ms());
    let end = move |conn: &mut Conn| {
        store::end_session(conn, &token_hash)?;
        log(conn, id, &Entry::new(now_ms, Actor::Operator(id), "operator.sign-out").on(id))
    };
    platform.store.write(end).await
}

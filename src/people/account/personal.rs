//! What accounts hold of a user: addresses, passwords and other ways in, sessions.

use super::store::{End, end_of};
use crate::error::Result;
use crate::id::{AppId, ChallengeId, SessionId, UserId};
use crate::on;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, flag, hand_over, plain, time};
use crate::store::Conn;
use crate::store::schema::{challenges, emails, foreign_passwords, passwords, sessions};
use diesel::prelude::*;

/// Secrets that were made for a user, or mailed to an address of theirs: before the addresses themselves go.
const OF_ADDRESS: &str = "(user_id = $2 or email in (select email from emails where app_id = $1 and user_id = $2) \
    or email in (select email from passwords where app_id = $1 and user_id = $2) \
    or email in (select email from foreign_passwords where app_id = $1 and user_id = $2))";

/// See `platform::personal`.
pub const ROOM: Room = Room {
    tables: &[
        Table {
            name: "challenges",
            shown_in: None,
            section: "mailed_secrets",
            key: "id",
            whose: OF_ADDRESS,
            shows: &[plain("kind"), plain("email"), time("created_ms"), time("expires_ms"), time("used_ms")],
            finish: None,
        },
        Table {
            name: "emails",
            shown_in: None,
            section: "emails",
            key: "email",
            whose: OF_USER,
            shows: &[plain("email"), time("verified_ms")],
            finish: None,
        },
        Table {
            name: "totps",
            shown_in: None,
            section: "authenticator_apps",
            key: "user_id",
            whose: OF_USER,
            shows: &[time("created_ms")],
            finish: None,
        },
        Table {
            name: "recovery_codes",
            shown_in: None,
            section: "recovery_codes",
            key: "code_hash",
            whose: OF_USER,
            shows: &[time("created_ms"), time("used_ms")],
            finish: None,
        },
        Table {
            name: "passkeys",
            shown_in: None,
            section: "passkeys",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("name"),
                flag("backed_up"),
                document("transports"),
                flag("second_factor"),
                time("created_ms"),
                time("last_used_ms"),
            ],
            finish: None,
        },
        Table {
            name: "identities",
            shown_in: None,
            section: "identities",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("provider"),
                plain("issuer"),
                plain("subject"),
                plain("client_id"),
                plain("email"),
                flag("email_is_private"),
                flag("email_reachable"),
                time("created_ms"),
                time("last_used_ms"),
                time("revoked_ms"),
            ],
            finish: None,
        },
        Table {
            name: "passwords",
            shown_in: None,
            section: "accounts",
            key: "user_id",
            whose: OF_USER,
            shows: &[plain("email"), time("changed_ms")],
            finish: None,
        },
        Table {
            name: "foreign_passwords",
            shown_in: None,
            section: "brought_in_accounts",
            key: "user_id",
            whose: OF_USER,
            shows: &[plain("email"), time("created_ms")],
            finish: None,
        },
        Table {
            name: "sessions",
            shown_in: None,
            section: "sessions",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("mode"),
                plain("name"),
                plain("user_agent"),
                plain("amr"),
                time("auth_ms"),
                time("created_ms"),
                time("last_used_ms"),
                time("ended_ms"),
                plain("end_reason"),
                plain("actor"),
            ],
            finish: None,
        },
    ],
    erase: None,
    turn_over: Some(turn_over),
    absorb: Some(|conn, merge, budget| hand_over(conn, ("sessions", "id"), merge, budget)),
};

/// Ends all sessions of a user who leaves; publish [`super::SESSIONS_TOPIC`] with each of them after the commit.
///
/// # Errors
/// What the database says.
pub fn end_all(conn: &mut Conn, app: AppId, user: UserId, now_ms: i64) -> Result<Vec<SessionId>> {
    let open =
        || sessions::table.filter(sessions::app_id.eq(app).and(sessions::user_id.eq(user)).and(sessions::ended_ms.is_null()));
    let ids: Vec<SessionId> = on!(conn, c => open().order(sessions::id).select(sessions::id).load(c))?;
    // In one order, so that two such transactions do not wait in a circle.
    ids.iter().try_for_each(|id| conn.serialise(&format!("session:{id}")))?;
    on!(conn, c => diesel::update(open()).set(end_of(End::Revoked, now_ms)).execute(c))?;
    Ok(ids)
}

/// Forgets sessions that ended before a time, or were last used before another one: neither can come to life again.
/// Answers how many there were.
///
/// # Errors
/// What the database says.
pub fn expire(conn: &mut Conn, app: AppId, (ended_ms, unused_ms): (i64, i64), limit: i64) -> Result<usize> {
    let of_app = || sessions::table.filter(sessions::app_id.eq(app));
    let mut ids: Vec<SessionId> =
        on!(conn, c => of_app().filter(sessions::ended_ms.lt(ended_ms)).limit(limit).select(sessions::id).load(c))?;
    // Ids begin with the time at which they were made: only the old ones are looked at.
    let unused: Vec<SessionId> = on!(conn, c => of_app()
        .filter(sessions::id.lt(SessionId::floor(unused_ms)))
        .filter(sessions::ended_ms.is_null().and(sessions::last_used_ms.lt(unused_ms)))
        .limit(limit)
        .select(sessions::id)
        .load(c))?;
    ids.extend(unused);
    for chunk in ids.chunks(500) {
        on!(conn, c => diesel::delete(of_app().filter(sessions::id.eq_any(chunk))).execute(c))?;
    }
    Ok(ids.len())
}

/// Forgets codes and links that were over before a time. Answers how many there were.
///
/// # Errors
/// What the database says.
pub fn expire_secrets(conn: &mut Conn, app: AppId, (before_ms, limit): (i64, i64)) -> Result<usize> {
    let ids: Vec<ChallengeId> = on!(conn, c => challenges::table
        .filter(challenges::app_id.eq(app).and(challenges::expires_ms.lt(before_ms)))
        .limit(limit)
        .select(challenges::id)
        .load(c))?;
    let target = || challenges::table.filter(challenges::app_id.eq(app));
    for chunk in ids.chunks(500) {
        on!(conn, c => diesel::delete(target().filter(challenges::id.eq_any(chunk))).execute(c))?;
    }
    Ok(ids.len())
}

/// The anonymous user's sessions end; an address of theirs, which the law does not foresee, does not outlive them.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    end_all(conn, merge.app, merge.from, merge.now_ms)?;
    on!(conn, c => diesel::delete(passwords::table.find((merge.app, merge.from))).execute(c))?;
    on!(conn, c => diesel::delete(foreign_passwords::table.find((merge.app, merge.from))).execute(c))?;
    Ok(())
}

/// The addresses that are certainly a user's: those they have proven, and those the app's back end brought in for them.
///
/// # Errors
/// What the database says.
pub fn addresses(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<String>> {
    let mut all: Vec<String> = on!(conn, c => emails::table
        .filter(emails::app_id.eq(app).and(emails::user_id.eq(user)))
        .select(emails::email)
        .load(c))?;
    let brought_in: Vec<String> = on!(conn, c => foreign_passwords::table
        .filter(foreign_passwords::app_id.eq(app).and(foreign_passwords::user_id.eq(user)))
        .select(foreign_passwords::email)
        .load(c))?;
    all.extend(brought_in);
    Ok(all)
}

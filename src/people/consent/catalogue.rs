//! What an app wants consent for: its purposes and the versions of their texts.

use super::purpose::{BUILT_IN, BuiltIn, Declared, Purposes};
use super::store;
use super::text::Text;
use crate::error::{Error, Problem, Result};
use crate::id::AppId;
use crate::platform::epoch;
use crate::store::Conn;

/// All purposes of an app, the built-in ones included.
///
/// # Errors
/// What the database says.
pub fn purposes(conn: &mut Conn, app: AppId) -> Result<Purposes> {
    store::purposes(conn, app)
}

/// The purposes that an app declared itself and the built-in ones, by key.
///
/// # Errors
/// What the database says.
pub fn declared(conn: &mut Conn, app: AppId) -> Result<Vec<Declared>> {
    let mut all = store::declared(conn, app)?;
    all.extend(BUILT_IN.iter().map(BuiltIn::declared));
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

/// The text versions of one purpose or of all, oldest first; the built-in texts come before the app's own.
///
/// # Errors
/// What the database says.
pub fn texts(conn: &mut Conn, app: AppId, purpose: Option<&str>) -> Result<Vec<Text>> {
    let built_in = BUILT_IN.iter().filter(|b| purpose.is_none_or(|key| key == b.key)).map(BuiltIn::text);
    Ok(built_in.chain(store::texts(conn, app, purpose)?).collect())
}

/// Declares a purpose with its first text.
///
/// # Errors
/// 409 when the key is taken.
pub fn declare(conn: &mut Conn, app: AppId, purpose: &Declared, text: &Text) -> Result<()> {
    if BUILT_IN.iter().any(|b| b.key == purpose.key) {
        return Err(Error::conflict("already_exists", "This purpose is built in; publish your own text version of it."));
    }
    store::declare(conn, app, purpose)?;
    store::publish(conn, app, text)
}

/// Writes another name or class of a declared purpose; its basis stays.
///
/// # Errors
/// What the database says.
pub fn change(conn: &mut Conn, app: AppId, purpose: &Declared) -> Result<()> {
    store::update(conn, app, purpose)
}

/// Publishes a new text version. With `re_ask` it moves the app's consent epoch: what was granted before no longer
/// counts, and the caller writes with [`Platform::write_and_fence`](crate::platform::Platform::write_and_fence).
///
/// # Errors
/// 404 for an unknown purpose, 409 when the version exists.
pub fn publish(conn: &mut Conn, app: AppId, text: &Text) -> Result<Text> {
    conn.serialise(&format!("purpose:{app}:{}", text.purpose))?;
    let purposes = store::purposes(conn, app)?;
    let known = purposes.get(&text.purpose).ok_or_else(|| Error::not_found("purpose"))?;
    if known.knows(&text.version) {
        let problem = Problem::new(409, "already_exists", "This purpose has a text version of that name.");
        return Err(problem.field("version", "duplicate", "choose another name").into());
    }
    // Versions of one purpose rise strictly in time, whatever the clock does.
    let last_ms = store::texts(conn, app, Some(&text.purpose))?.last().map_or(0, |t| t.published_ms);
    let text = Text { published_ms: text.published_ms.max(last_ms + 1), ..text.clone() };
    store::publish(conn, app, &text)?;
    if text.re_ask {
        epoch::bump(conn, app, epoch::Scope::AppConsent)?;
    }
    Ok(text)
}

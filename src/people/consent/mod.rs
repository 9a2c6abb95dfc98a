//! Consent: purposes with versioned texts, and the append-only ledger of what each user granted and withdrew.
//!
//! Nothing is granted by default. [`law`] says which row decides; a change moves the user's consent epoch, so that no
//! send that relied on the old state is handed over.

mod law;
mod notice;
mod purpose;
mod store;

pub use law::{Channel, Extent, Ledger, Need, Reason, Row, Standing};
pub use purpose::{BUILT_IN, BUILT_IN_VERSION, Basis, BuiltIn, LOCATION, PARTNER_EVENTS, Purpose, Purposes, Version};
pub use store::{Declared, Text};

use crate::error::{Error, Problem, Result};
use crate::http::FreeJson;
use crate::id::{AppId, ConsentId, KeyId, PartnerId, UserId};
use crate::platform::epoch;
use crate::store::Conn;
use std::collections::{BTreeMap, HashMap};

/// A record of the ledger with its proof.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose it is.
    pub user: UserId,
    /// What the law reads.
    pub row: Row,
    /// What was shown, where, in which language, by which app version.
    pub evidence: FreeJson,
    /// Who made the choice known.
    pub source: Source,
    /// When it was recorded.
    pub at_ms: i64,
}

/// Who made a choice known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The user, in the app.
    User,
    /// The app's back end with this key: support, or import from elsewhere.
    Server(KeyId),
    /// This program itself, for the example app.
    Seed,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Server(key) => write!(f, "server:{key}"),
            Self::Seed => f.write_str("seed"),
        }
    }
}

impl Source {
    fn parse(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("server:")) {
            ("user", _) => Ok(Self::User),
            ("seed", _) => Ok(Self::Seed),
            (_, Some(key)) => key.parse().map(Self::Server).map_err(Error::broken),
            (_, None) => Err(Error::broken("the ledger holds an unknown source")),
        }
    }
}

/// What [`record`] did.
#[derive(Debug)]
pub struct Recorded {
    /// The record: a new one, or the one that said the same before.
    pub record: Record,
    /// Whether it is new.
    pub new: bool,
    /// The grants that this withdrawal ended.
    pub ended: Vec<Record>,
}

/// The ledgers of these users; every one of them is in the answer.
///
/// # Errors
/// What the database says.
pub fn ledgers(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Ledger>> {
    store::ledgers(conn, app, users)
}

/// All purposes of an app, the built-in ones included.
///
/// # Errors
/// What the database says.
pub fn purposes(conn: &mut Conn, app: AppId) -> Result<Purposes> {
    store::purposes(conn, app)
}

/// Records a grant or a withdrawal and moves the user's consent epoch. The caller of a
/// withdrawal writes with [`Platform::write_and_fence`](crate::platform::Platform::write_and_fence).
///
/// A choice that the last row of its purpose says already is not written again.
///
/// # Errors
/// 400 that names `purpose`, `partner`, `text_version` or `evidence`.
pub fn record(conn: &mut Conn, app: AppId, record: Record) -> Result<Recorded> {
    check(conn, app, &record)?;
    // First of all: the epoch's row keeps other writers of this user's ledger out until the end of the transaction.
    epoch::bump(conn, app, epoch::Scope::Consent(record.user))?;
    let ledger = store::ledgers(conn, app, &[record.user])?.remove(&record.user).unwrap_or_default();
    if let Some(last) = ledger.last(&record.row.extent.purpose).filter(|last| says_the_same(last, &record.row)) {
        let known = store::records(conn, app, record.user, &[last.id])?.pop();
        let record = known.ok_or_else(|| Error::broken("a ledger row vanished"))?;
        return Ok(Recorded { record, new: false, ended: Vec::new() });
    }
    let ended = if record.row.granted { Vec::new() } else { ledger.ended_by(&record.row.extent) };
    let ended: Vec<ConsentId> = ended.iter().map(|row| row.id).collect();
    let ended = store::records(conn, app, record.user, &ended)?;
    store::append(conn, app, std::slice::from_ref(&record))?;
    notice::tell(conn, app, (&record, &ended), &ledger)?;
    Ok(Recorded { record, new: true, ended })
}

fn says_the_same(last: &Row, now: &Row) -> bool {
    let same_text = !now.granted || last.text_version == now.text_version;
    last.extent == now.extent && last.granted == now.granted && same_text
}

fn check(conn: &mut Conn, app: AppId, record: &Record) -> Result<()> {
    let purposes = store::purposes(conn, app)?;
    let Extent { purpose: key, partner, .. } = &record.row.extent;
    let Some(purpose) = purposes.get(key) else {
        return Err(Error::invalid("purpose", "unknown", "this app has no such purpose; /v1/purposes lists them"));
    };
    if let Some(partner) = partner
        && !store::has_partner(conn, app, *partner)?
    {
        return Err(Error::invalid("partner", "unknown", "this app has no such partner"));
    }
    match (record.row.text_version.as_deref(), record.row.granted) {
        (None, false) => {}
        (None, true) => return Err(Error::invalid("text_version", "required", "a grant names the text that was shown")),
        // What is brought in from elsewhere may have been granted long ago; the law says whether it still counts.
        (Some(version), granted) if !granted || record.source != Source::User => {
            if !purpose.knows(version) {
                return Err(Error::invalid("text_version", "unknown", "this purpose has no such text version"));
            }
        }
        (Some(version), _) if version != purpose.current() => {
            let message = format!("the current text version is {}; show that one and ask again", purpose.current());
            return Err(Error::invalid("text_version", "outdated", message));
        }
        (Some(_), _) => {}
    }
    if record.row.granted && record.evidence.0.is_empty() {
        return Err(Error::invalid(
            "evidence",
            "required",
            "a grant keeps what was shown, where, in which language, by which app version",
        ));
    }
    Ok(())
}

/// What many users granted at once, brought in with one proof.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What was granted.
    pub extent: Extent,
    /// Which text was shown.
    pub text_version: String,
    /// What was shown, where, in which language.
    pub evidence: FreeJson,
    /// Who made it known.
    pub source: Source,
    /// When it is recorded.
    pub at_ms: i64,
}

/// Records one grant for many users, each under its own record id.
///
/// # Errors
/// As [`record`]; none is written then.
pub fn grant_many(conn: &mut Conn, app: AppId, users: &[(UserId, ConsentId)], grant: &Grant) -> Result<()> {
    let records: Vec<Record> = users
        .iter()
        .map(|(user, id)| Record {
            user: *user,
            row: Row { id: *id, extent: grant.extent.clone(), granted: true, text_version: Some(grant.text_version.clone()) },
            evidence: grant.evidence.clone(),
            source: grant.source,
            at_ms: grant.at_ms,
        })
        .collect();
    let Some(first) = records.first() else { return Ok(()) };
    check(conn, app, first)?;
    let users: Vec<UserId> = users.iter().map(|(user, _)| *user).collect();
    epoch::bump_users(conn, app, &users)?;
    store::append(conn, app, &records)?;
    notice::tell_granted(conn, app, &records)
}

/// A user's records by id, in commit order.
///
/// # Errors
/// What the database says.
pub fn records(conn: &mut Conn, app: AppId, user: UserId, ids: &[ConsentId]) -> Result<Vec<Record>> {
    store::records(conn, app, user, ids)
}

/// A user's records in commit order with their sequence numbers: at most `page.1` of them after number `page.0`.
///
/// # Errors
/// What the database says.
pub fn history(conn: &mut Conn, app: AppId, user: UserId, page: (i64, i64)) -> Result<Vec<(i64, Record)>> {
    store::history(conn, app, user, page)
}

/// The purposes that an app declared itself and the built-in ones, by key.
///
/// # Errors
/// What the database says.
pub fn declared(conn: &mut Conn, app: AppId) -> Result<Vec<Declared>> {
    let mut all = store::declared(conn, app)?;
    all.extend(BUILT_IN.iter().map(|b| Declared {
        key: b.key.to_owned(),
        name: b.name.to_owned(),
        basis: Basis::Consent,
        created_ms: 0,
    }));
    all.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(all)
}

/// The text versions of one purpose or of all, oldest first; the built-in texts come before the app's own.
///
/// # Errors
/// What the database says.
pub fn texts(conn: &mut Conn, app: AppId, purpose: Option<&str>) -> Result<Vec<Text>> {
    let built_in = BUILT_IN.iter().filter(|b| purpose.is_none_or(|key| key == b.key)).map(|b| Text {
        purpose: b.key.to_owned(),
        version: BUILT_IN_VERSION.to_owned(),
        texts: BTreeMap::from([("en".to_owned(), b.text.to_owned())]),
        re_ask: false,
        published_ms: 0,
    });
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

/// Gives a declared purpose another name for people.
///
/// # Errors
/// 404 when the app has not declared it.
pub fn rename(conn: &mut Conn, app: AppId, key: &str, name: &str) -> Result<()> {
    if store::rename(conn, app, key, name)? { Ok(()) } else { Err(Error::not_found("purpose")) }
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

/// Whether a partner exists in this app, for choices that name one.
///
/// # Errors
/// What the database says.
pub fn has_partner(conn: &mut Conn, app: AppId, partner: PartnerId) -> Result<bool> {
    store::has_partner(conn, app, partner)
}

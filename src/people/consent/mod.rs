//! Consent: purposes with versioned texts, and the append-only ledger of what each user granted and withdrew.
//!
//! Nothing is granted by default. [`law`] says which row decides; a change moves the user's consent epoch, so that no
//! send that relied on the old state is handed over. What changes by time alone, the end of a grant, is written on the
//! messages that rely on it, and asked with the slot in hand like their deadline.

mod age;
mod catalogue;
mod gate;
mod heard;
mod law;
mod notice;
pub mod personal;
mod purpose;
mod signal;
mod store;
mod text;

pub use age::{Age, Stated, of_age_ms};
pub use catalogue::{change, declare, declared, publish, purposes, texts};
pub use gate::{Gate, gate, state_age};
pub use heard::Signals;
pub use law::{Channel, Extent, Ledger, Need, Reason, Row, Standing, Voice};
pub use purpose::{
    BUILT_IN, BUILT_IN_VERSION, Basis, BuiltIn, CATEGORIES, Class, Declared, LOCATION, PARTNER_EVENTS, Purpose, Purposes, Version,
};
pub use signal::{due, forbids};
pub use text::{Local, Text, Words};

use crate::app::{Settings, Who};
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, ConsentId, Ids, KeyId, OperatorId, PartnerId, UserId};
use crate::platform::epoch;
use crate::store::Conn;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A record of the ledger with its proof.
#[derive(Debug, Clone)]
pub struct Record {
    /// Whose it is.
    pub user: UserId,
    /// What the law reads.
    pub row: Row,
    /// Which words the person saw.
    pub shown: Shown,
    /// What was shown, where, in which language, by which app version.
    pub evidence: FreeJson,
    /// Who made the choice known.
    pub source: Source,
    /// When it was recorded.
    pub at_ms: i64,
}

/// Which words a person saw; with the purpose and the text version they lead to the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The language of the text.
    pub language: Option<String>,
    /// SHA-256 of the text, in hex.
    pub hash: Option<String>,
    /// The jurisdiction under which the choice was made.
    pub jurisdiction: Option<String>,
}

/// A choice to be recorded.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Whose it is.
    pub user: UserId,
    /// The record's id.
    pub id: ConsentId,
    /// What it is about.
    pub extent: Extent,
    /// Granted, or withdrawn.
    pub granted: bool,
    /// Which text was shown.
    pub text_version: Option<String>,
    /// The jurisdiction, where it is not the app's.
    pub jurisdiction: Option<String>,
    /// Whether a guardian made it for somebody who is not of age.
    pub guardian: bool,
    /// What was shown, where, in which language (`locale`), by which app version.
    pub evidence: FreeJson,
    /// Who made it known.
    pub source: Source,
    /// When it is recorded.
    pub at_ms: i64,
}

/// Who made a choice known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The user, in the app.
    User,
    /// The app's back end with this key: support, or import from elsewhere.
    Server(KeyId),
    /// An operator, for the user: support.
    Operator(OperatorId),
    /// This program itself, for the example app.
    Seed,
    /// The user's browser or phone, by Global Privacy Control.
    Gpc,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Server(key) => write!(f, "server:{key}"),
            Self::Operator(id) => write!(f, "operator:{id}"),
            Self::Seed => f.write_str("seed"),
            Self::Gpc => f.write_str("gpc"),
        }
    }
}

impl From<Who> for Source {
    fn from(who: Who) -> Self {
        match who {
            Who::Key(id) => Self::Server(id),
            Who::Operator(id) => Self::Operator(id),
        }
    }
}

impl Source {
    fn parse(text: &str) -> Result<Self> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("user", "") => Ok(Self::User),
            ("seed", "") => Ok(Self::Seed),
            ("gpc", "") => Ok(Self::Gpc),
            ("server", key) => key.parse().map(Self::Server).map_err(Error::broken),
            ("operator", id) => id.parse().map(Self::Operator).map_err(Error::broken),
            _ => Err(Error::broken("the ledger holds an unknown source")),
        }
    }

    /// Whose word it is to the law.
    fn voice(self) -> Voice {
        match self {
            Self::User => Voice::User,
            Self::Gpc => Voice::Signal,
            Self::Server(_) | Self::Operator(_) | Self::Seed => Voice::Other,
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

/// The ledgers of all of these users, with their ages where the app has a gate, and whether their accounts are disabled.
///
/// # Errors
/// What the database says.
pub fn ledgers(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Ledger>> {
    let mut ledgers = store::ledgers(conn, app, users)?;
    gate::judge(conn, app, &mut ledgers)?;
    for user in store::disabled(conn, app, users)? {
        ledgers.entry(user).or_default().disabled = true;
    }
    Ok(ledgers)
}

fn ledger(conn: &mut Conn, app: AppId, user: UserId) -> Result<Ledger> {
    Ok(ledgers(conn, app, &[user])?.remove(&user).unwrap_or_default())
}

/// Records a grant or a withdrawal and moves the user's consent epoch. The caller of a
/// withdrawal writes with [`Platform::write_and_fence`](crate::platform::Platform::write_and_fence).
///
/// A choice that the last row of its purpose says already is not written again; a grant that would count longer is.
///
/// # Errors
/// 400 that names `purpose`, `partner`, `text_version`, `jurisdiction`, `guardian` or `evidence`; 403 `age_gate` when the
/// user may not consent for themselves; 409 `gpc` when the user's own signal forbids what others bring in.
pub fn record(conn: &mut Conn, app: AppId, choice: Choice) -> Result<Recorded> {
    let (record, needs_consent) = proven(conn, app, choice)?;
    // First of all: the epoch's row keeps other writers of this user's ledger out until the end of the transaction.
    epoch::bump(conn, app, epoch::Scope::Consent(record.user))?;
    let ledger = ledger(conn, app, record.user)?;
    if record.row.granted {
        if needs_consent && !record.row.guardian && !ledger.age.reached(record.at_ms) {
            return Err(gate::refusal());
        }
        if record.row.voice == Voice::Other && signal::forbids(&ledger, &record.row.extent) {
            let detail = "The user's browser or phone says Global Privacy Control: only the user can grant this, in the app.";
            return Err(Error::conflict("gpc", detail));
        }
    }
    if let Some(last) = ledger.last(&record.row.extent.purpose).filter(|last| says_the_same(last, &record.row)) {
        let known = store::records(conn, app, record.user, &[last.id])?.pop();
        let record = known.ok_or_else(|| Error::broken("a ledger row vanished"))?;
        return Ok(Recorded { record, new: false, ended: Vec::new() });
    }
    let ended = if record.row.granted { Vec::new() } else { ledger.ended_by(&record.row.extent, record.at_ms) };
    let ended: Vec<ConsentId> = ended.iter().map(|row| row.id).collect();
    let ended = store::records(conn, app, record.user, &ended)?;
    store::append(conn, app, std::slice::from_ref(&record))?;
    notice::tell(conn, app, (&record, &ended), &ledger)?;
    Ok(Recorded { record, new: true, ended })
}

fn says_the_same(last: &Row, now: &Row) -> bool {
    let same_grant = last.text_version == now.text_version && last.expires_ms == now.expires_ms && last.guardian == now.guardian;
    last.extent == now.extent && last.granted == now.granted && (!now.granted || same_grant)
}

/// A choice with the words that were shown and the end of its validity, and whether it has to rest on consent.
fn proven(conn: &mut Conn, app: AppId, choice: Choice) -> Result<(Record, bool)> {
    let settings = crate::app::settings(conn, app)?;
    let basis = check(conn, app, &choice)?;
    let Choice { user, id, extent, granted, text_version, guardian, evidence, source, at_ms, .. } = choice;
    let jurisdiction = choice.jurisdiction.or_else(|| settings.jurisdiction.clone());
    if let Some(code) = &jurisdiction {
        crate::app::check_jurisdiction("jurisdiction", code)?;
    }
    let text = match &text_version {
        Some(version) => texts(conn, app, Some(&extent.purpose))?.into_iter().find(|text| text.version == *version),
        None => None,
    };
    let code = jurisdiction.as_deref();
    let words = text.as_ref().and_then(|text| text.shown(code, locales(&evidence, &settings)));
    let shown = Shown {
        language: words.map(|words| words.language.to_owned()),
        hash: words.map(|words| words.hash()),
        jurisdiction: jurisdiction.clone(),
    };
    let valid_ms = text.as_ref().filter(|_| granted).and_then(|text| text.valid_ms_in(code));
    let expires_ms = valid_ms.map(|span_ms| at_ms.saturating_add(span_ms));
    let needs_consent = basis == Basis::Consent || extent.partner.is_some();
    let row = Row { id, extent, granted, text_version, expires_ms, guardian, voice: source.voice() };
    Ok((Record { user, row, shown, evidence, source, at_ms }, needs_consent))
}

/// The language that the evidence names, then the app's own.
fn locales<'a>(evidence: &'a FreeJson, settings: &'a Settings) -> [Option<&'a str>; 2] {
    let named = |key: &str| evidence.0.get(key).and_then(Value::as_str);
    [named("locale").or_else(|| named("language")), Some(&settings.locale)]
}

fn check(conn: &mut Conn, app: AppId, choice: &Choice) -> Result<Basis> {
    let purposes = store::purposes(conn, app)?;
    let Extent { purpose: key, partner, .. } = &choice.extent;
    let Some(purpose) = purposes.get(key) else {
        return Err(Error::invalid("purpose", "unknown", "this app has no such purpose; /v1/purposes lists them"));
    };
    if let Some(partner) = partner
        && !has_partner(conn, app, *partner)?
    {
        return Err(Error::invalid("partner", "unknown", "this app has no such partner"));
    }
    match (choice.text_version.as_deref(), choice.granted) {
        (None, false) => {}
        (None, true) => return Err(Error::invalid("text_version", "required", "a grant names the text that was shown")),
        // What is brought in from elsewhere may have been granted long ago; the law says whether it still counts.
        (Some(version), granted) if !granted || choice.source != Source::User => {
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
    if choice.guardian && choice.source == Source::User {
        let message = "a guardian's consent is brought in by the app's server, with its evidence";
        return Err(Error::invalid("guardian", "forbidden", message));
    }
    if choice.granted && choice.evidence.0.is_empty() {
        return Err(Error::invalid(
            "evidence",
            "required",
            "a grant keeps what was shown, where, in which language, by which app version",
        ));
    }
    Ok(purpose.basis)
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

/// Records one grant for many users, each under its own record id. Whether the age gate lets it count is for the law to
/// say.
///
/// # Errors
/// As [`record`], its refusals by age and signal apart; none is written then.
pub fn grant_many(conn: &mut Conn, app: AppId, users: &[(UserId, ConsentId)], grant: &Grant) -> Result<()> {
    let Some((user, id)) = users.first().copied() else { return Ok(()) };
    let Grant { extent, text_version, evidence, source, at_ms } = grant.clone();
    let (guardian, jurisdiction, text_version) = (false, None, Some(text_version));
    let first = Choice { user, id, extent, granted: true, text_version, jurisdiction, guardian, evidence, source, at_ms };
    let (first, _) = proven(conn, app, first)?;
    let records: Vec<Record> = users
        .iter()
        .map(|(user, id)| Record { user: *user, row: Row { id: *id, ..first.row.clone() }, ..first.clone() })
        .collect();
    let users: Vec<UserId> = users.iter().map(|(user, _)| *user).collect();
    epoch::bump_users(conn, app, &users)?;
    store::append(conn, app, &records)?;
    notice::tell_granted(conn, app, &records)
}

/// What a user's Global Privacy Control signal still has to withdraw.
///
/// # Errors
/// What the database says.
pub fn objections(conn: &mut Conn, app: AppId, user: UserId, now_ms: i64) -> Result<Vec<Extent>> {
    let sharing = declared(conn, app)?.into_iter().filter(|purpose| purpose.class.sale_or_share);
    let sharing: Vec<String> = sharing.map(|purpose| purpose.key).collect();
    Ok(signal::due(&ledger(conn, app, user)?, &sharing, now_ms))
}

/// Records what a user's Global Privacy Control signal withdraws, and moves the user's consent epoch. The caller writes
/// with [`Platform::write_and_fence`](crate::platform::Platform::write_and_fence).
///
/// # Errors
/// What the database says.
pub fn object(conn: &mut Conn, app: AppId, (user, ids): (UserId, &Ids), now_ms: i64) -> Result<Vec<Record>> {
    epoch::bump(conn, app, epoch::Scope::Consent(user))?;
    let evidence = json!({"method": "gpc", "signal": "Sec-GPC: 1"});
    let evidence: Map<String, Value> = evidence.as_object().cloned().unwrap_or_default();
    let jurisdiction = crate::app::settings(conn, app)?.jurisdiction;
    let record = |extent: Extent| Record {
        user,
        row: Row {
            id: ids.next(),
            extent,
            granted: false,
            text_version: None,
            expires_ms: None,
            guardian: false,
            voice: Voice::Signal,
        },
        shown: Shown { jurisdiction: jurisdiction.clone(), ..Shown::default() },
        evidence: FreeJson(evidence.clone()),
        source: Source::Gpc,
        at_ms: now_ms,
    };
    let records: Vec<Record> = objections(conn, app, user, now_ms)?.into_iter().map(record).collect();
    let before = ledger(conn, app, user)?;
    store::append(conn, app, &records)?;
    records.iter().try_for_each(|record| notice::tell(conn, app, (record, &[]), &before))?;
    Ok(records)
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

/// Whether a partner exists in this app, for choices that name one.
///
/// # Errors
/// What the database says.
pub fn has_partner(conn: &mut Conn, app: AppId, partner: PartnerId) -> Result<bool> {
    Ok(store::partner(conn, app, partner)?.is_some())
}

/// What a partner of the app is called, for receipts that name it.
///
/// # Errors
/// What the database says.
pub fn partner_name(conn: &mut Conn, app: AppId, partner: PartnerId) -> Result<Option<String>> {
    store::partner(conn, app, partner)
}

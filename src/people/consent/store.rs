//! The consent ledger and the purposes in the database.

use super::law::{Channel, Extent, Ledger, Row};
use super::purpose::{Basis, Purpose, Purposes, Version};
use super::{Record, Source};
use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, ConsentId, PartnerId, UserId};
use crate::on;
use crate::store::schema::{consents, partners, purpose_versions, purposes};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// How many values one `in (…)` or one insert takes.
const CHUNK: usize = 500;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = consents, treat_none_as_default_value = false)]
struct ConsentRow {
    app_id: AppId,
    id: ConsentId,
    user_id: UserId,
    seq: i64,
    purpose: String,
    channel: Option<String>,
    partner_id: Option<PartnerId>,
    granted: bool,
    text_version: Option<String>,
    evidence: Doc<FreeJson>,
    source: String,
    at_ms: i64,
}

impl ConsentRow {
    fn new(app_id: AppId, seq: i64, record: &Record) -> Self {
        let Extent { purpose, channel, partner } = record.row.extent.clone();
        Self {
            app_id,
            id: record.row.id,
            user_id: record.user,
            seq,
            purpose,
            channel: channel.map(|c| c.name().to_owned()),
            partner_id: partner,
            granted: record.row.granted,
            text_version: record.row.text_version.clone(),
            evidence: Doc(record.evidence.clone()),
            source: record.source.to_string(),
            at_ms: record.at_ms,
        }
    }

    fn record(self) -> Result<Record> {
        Ok(Record {
            user: self.user_id,
            row: Row {
                id: self.id,
                extent: extent(self.purpose, self.channel.as_deref(), self.partner_id)?,
                granted: self.granted,
                text_version: self.text_version,
            },
            evidence: self.evidence.0,
            source: Source::parse(&self.source)?,
            at_ms: self.at_ms,
        })
    }
}

fn extent(purpose: String, channel: Option<&str>, partner: Option<PartnerId>) -> Result<Extent> {
    let unknown = |word: &str| Error::broken(format!("the ledger holds the unknown channel {word}"));
    let channel = channel.map(|word| Channel::named(word).ok_or_else(|| unknown(word))).transpose()?;
    Ok(Extent { purpose, channel, partner })
}

type LawColumns = (UserId, ConsentId, String, Option<String>, Option<PartnerId>, bool, Option<String>);

pub(super) fn ledgers(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Ledger>> {
    let mut ledgers: HashMap<UserId, Ledger> = users.iter().map(|user| (*user, Ledger::default())).collect();
    for chunk in users.chunks(CHUNK) {
        let rows: Vec<LawColumns> = on!(conn, c => consents::table
            .filter(consents::app_id.eq(app).and(consents::user_id.eq_any(chunk)))
            .order((consents::user_id, consents::seq))
            .select((consents::user_id, consents::id, consents::purpose, consents::channel, consents::partner_id,
                consents::granted, consents::text_version))
            .load(c))?;
        for (user, id, purpose, channel, partner, granted, text_version) in rows {
            let extent = extent(purpose, channel.as_deref(), partner)?;
            ledgers.entry(user).or_default().0.push(Row { id, extent, granted, text_version });
        }
    }
    Ok(ledgers)
}

/// The newest sequence number of each user that has one.
fn newest(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, i64>> {
    let rows: Vec<(UserId, Option<i64>)> = on!(conn, c => consents::table
        .filter(consents::app_id.eq(app).and(consents::user_id.eq_any(users)))
        .group_by(consents::user_id)
        .select((consents::user_id, diesel::dsl::max(consents::seq)))
        .load(c))?;
    Ok(rows.into_iter().map(|(user, seq)| (user, seq.unwrap_or(0))).collect())
}

/// Appends records. The users' epochs must have been moved in this transaction before: that keeps others out.
pub(super) fn append(conn: &mut Conn, app: AppId, records: &[Record]) -> Result<()> {
    for chunk in records.chunks(CHUNK) {
        let users: Vec<UserId> = chunk.iter().map(|r| r.user).collect();
        let mut seqs = newest(conn, app, &users)?;
        let rows: Vec<ConsentRow> = chunk
            .iter()
            .map(|record| {
                let seq = seqs.entry(record.user).or_insert(0);
                *seq += 1;
                ConsentRow::new(app, *seq, record)
            })
            .collect();
        on!(conn, c => diesel::insert_into(consents::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// A user's records by id.
pub(super) fn records(conn: &mut Conn, app: AppId, user: UserId, ids: &[ConsentId]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<ConsentRow> = on!(conn, c => consents::table
            .filter(consents::app_id.eq(app).and(consents::user_id.eq(user)).and(consents::id.eq_any(chunk)))
            .order(consents::seq)
            .select(ConsentRow::as_select())
            .load(c))?;
        for row in rows {
            found.push(row.record()?);
        }
    }
    Ok(found)
}

/// A user's records with their sequence numbers, in commit order, after one of them.
pub(super) fn history(conn: &mut Conn, app: AppId, user: UserId, page: (i64, i64)) -> Result<Vec<(i64, Record)>> {
    let (after, limit) = page;
    let rows: Vec<ConsentRow> = on!(conn, c => consents::table
        .filter(consents::app_id.eq(app).and(consents::user_id.eq(user)).and(consents::seq.gt(after)))
        .order(consents::seq)
        .limit(limit)
        .select(ConsentRow::as_select())
        .load(c))?;
    rows.into_iter().map(|row| Ok((row.seq, row.record()?))).collect()
}

/// Whether the app has this partner. The table is another room's; a record must not name a partner that is not there.
pub(super) fn has_partner(conn: &mut Conn, app: AppId, partner: PartnerId) -> Result<bool> {
    let rows: i64 = on!(conn, c => partners::table
        .filter(partners::app_id.eq(app).and(partners::id.eq(partner)))
        .count()
        .get_result(c))?;
    Ok(rows > 0)
}

/// A declared purpose without its texts.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its key.
    pub key: String,
    /// Its name, for people.
    pub name: String,
    /// On what it rests.
    pub basis: Basis,
    /// When it was declared.
    pub created_ms: i64,
}

/// A published text of a purpose.
#[derive(Debug, Clone)]
pub struct Text {
    /// The purpose's key.
    pub purpose: String,
    /// The version's name.
    pub version: String,
    /// The text by locale.
    pub texts: BTreeMap<String, String>,
    /// Whether grants for older versions stop to count.
    pub re_ask: bool,
    /// When it was published; 0 for the built-in texts.
    pub published_ms: i64,
}

fn basis(word: &str) -> Result<Basis> {
    [Basis::Consent, Basis::Contract]
        .into_iter()
        .find(|b| b.name() == word)
        .ok_or_else(|| Error::broken(format!("unknown basis {word}")))
}

pub(super) fn purposes(conn: &mut Conn, app: AppId) -> Result<Purposes> {
    let declared: Vec<(String, String)> = on!(conn, c => purposes::table
        .filter(purposes::app_id.eq(app))
        .select((purposes::key, purposes::basis))
        .load(c))?;
    let published: Vec<(String, String, bool)> = on!(conn, c => purpose_versions::table
        .filter(purpose_versions::app_id.eq(app))
        .order((purpose_versions::published_ms, purpose_versions::version))
        .select((purpose_versions::purpose, purpose_versions::version, purpose_versions::re_ask))
        .load(c))?;
    let mut versions: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    for (purpose, version, re_ask) in published {
        versions.entry(purpose).or_default().push(Version { version, re_ask });
    }
    let mut all = Vec::new();
    for (key, word) in declared {
        let versions = versions.remove(&key).unwrap_or_default();
        all.push((key, Purpose { basis: basis(&word)?, versions }));
    }
    // What is left are the app's own texts of built-in purposes.
    all.extend(versions.into_iter().map(|(key, versions)| (key, Purpose { basis: Basis::Consent, versions })));
    Ok(Purposes::new(all))
}

pub(super) fn declared(conn: &mut Conn, app: AppId) -> Result<Vec<Declared>> {
    let rows: Vec<(String, String, String, i64)> = on!(conn, c => purposes::table
        .filter(purposes::app_id.eq(app))
        .order(purposes::key)
        .select((purposes::key, purposes::name, purposes::basis, purposes::created_ms))
        .load(c))?;
    rows.into_iter().map(|(key, name, word, created_ms)| Ok(Declared { key, name, basis: basis(&word)?, created_ms })).collect()
}

pub(super) fn declare(conn: &mut Conn, app: AppId, purpose: &Declared) -> Result<()> {
    on!(conn, c => diesel::insert_into(purposes::table)
        .values((
            purposes::app_id.eq(app),
            purposes::key.eq(&purpose.key),
            purposes::name.eq(&purpose.name),
            purposes::basis.eq(purpose.basis.name()),
            purposes::created_ms.eq(purpose.created_ms),
        ))
        .execute(c))?;
    Ok(())
}

pub(super) fn rename(conn: &mut Conn, app: AppId, key: &str, name: &str) -> Result<bool> {
    let rows = on!(conn, c => diesel::update(purposes::table.filter(purposes::app_id.eq(app).and(purposes::key.eq(key))))
        .set(purposes::name.eq(name))
        .execute(c))?;
    Ok(rows == 1)
}

/// The published texts, of one purpose or of all, oldest first.
pub(super) fn texts(conn: &mut Conn, app: AppId, purpose: Option<&str>) -> Result<Vec<Text>> {
    type Columns = (String, String, Doc<BTreeMap<String, String>>, bool, i64);
    let rows: Vec<Columns> = on!(conn, c => {
        let mut query = purpose_versions::table
            .filter(purpose_versions::app_id.eq(app))
            .order((purpose_versions::published_ms, purpose_versions::version))
            .select((purpose_versions::purpose, purpose_versions::version, purpose_versions::texts,
                purpose_versions::re_ask, purpose_versions::published_ms))
            .into_boxed();
        if let Some(key) = purpose {
            query = query.filter(purpose_versions::purpose.eq(key));
        }
        query.load(c)
    })?;
    let text = |(purpose, version, texts, re_ask, published_ms): Columns| Text {
        purpose,
        version,
        texts: texts.0,
        re_ask,
        published_ms,
    };
    Ok(rows.into_iter().map(text).collect())
}

pub(super) fn publish(conn: &mut Conn, app: AppId, text: &Text) -> Result<()> {
    on!(conn, c => diesel::insert_into(purpose_versions::table)
        .values((
            purpose_versions::app_id.eq(app),
            purpose_versions::purpose.eq(&text.purpose),
            purpose_versions::version.eq(&text.version),
            purpose_versions::texts.eq(Doc(text.texts.clone())),
            purpose_versions::re_ask.eq(text.re_ask),
            purpose_versions::published_ms.eq(text.published_ms),
        ))
        .execute(c))?;
    Ok(())
}

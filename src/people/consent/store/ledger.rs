//! The consent ledger in the database.

use crate::error::{Error, Result};
use crate::http::FreeJson;
use crate::id::{AppId, ConsentId, PartnerId, UserId};
use crate::on;
use crate::people::consent::law::{Channel, Extent, Ledger, Row};
use crate::people::consent::{Record, Shown, Source};
use crate::store::schema::{consents, partners, users};
use crate::store::{Conn, Doc, among};
use diesel::prelude::*;
use std::collections::HashMap;

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
    language: Option<String>,
    notice_hash: Option<String>,
    jurisdiction: Option<String>,
    expires_ms: Option<i64>,
    guardian: bool,
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
            language: record.shown.language.clone(),
            notice_hash: record.shown.hash.clone(),
            jurisdiction: record.shown.jurisdiction.clone(),
            expires_ms: record.row.expires_ms,
            guardian: record.row.guardian,
        }
    }

    fn record(self) -> Result<Record> {
        let source = Source::parse(&self.source)?;
        Ok(Record {
            user: self.user_id,
            row: Row {
                id: self.id,
                extent: extent(self.purpose, self.channel.as_deref(), self.partner_id)?,
                granted: self.granted,
                text_version: self.text_version,
                expires_ms: self.expires_ms,
                guardian: self.guardian,
                voice: source.voice(),
            },
            shown: Shown { language: self.language, hash: self.notice_hash, jurisdiction: self.jurisdiction },
            evidence: self.evidence.0,
            source,
            at_ms: self.at_ms,
        })
    }
}

fn extent(purpose: String, channel: Option<&str>, partner: Option<PartnerId>) -> Result<Extent> {
    let unknown = |word: &str| Error::broken(format!("the ledger holds the unknown channel {word}"));
    let channel = channel.map(|word| Channel::named(word).ok_or_else(|| unknown(word))).transpose()?;
    Ok(Extent { purpose, channel, partner })
}

type LawColumns =
    ((UserId, ConsentId, String, Option<String>, Option<PartnerId>), (bool, Option<String>, Option<i64>, bool, String));

pub(in crate::people::consent) fn ledgers(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Ledger>> {
    let mut ledgers: HashMap<UserId, Ledger> = users.iter().map(|user| (*user, Ledger::default())).collect();
    for chunk in users.chunks(CHUNK) {
        let rows: Vec<LawColumns> = on!(conn, c => consents::table
            .filter(consents::app_id.eq(app).and(consents::user_id.eq_any(chunk)))
            .order((consents::user_id, consents::seq))
            .select((
                (consents::user_id, consents::id, consents::purpose, consents::channel, consents::partner_id),
                (consents::granted, consents::text_version, consents::expires_ms, consents::guardian, consents::source),
            ))
            .load(c))?;
        for ((user, id, purpose, channel, partner), (granted, text_version, expires_ms, guardian, source)) in rows {
            let (extent, voice) = (extent(purpose, channel.as_deref(), partner)?, Source::parse(&source)?.voice());
            let row = Row { id, extent, granted, text_version, expires_ms, guardian, voice };
            ledgers.entry(user).or_default().rows.push(row);
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
pub(in crate::people::consent) fn append(conn: &mut Conn, app: AppId, records: &[Record]) -> Result<()> {
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
pub(in crate::people::consent) fn records(conn: &mut Conn, app: AppId, user: UserId, ids: &[ConsentId]) -> Result<Vec<Record>> {
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
pub(in crate::people::consent) fn history(
    conn: &mut Conn,
    app: AppId,
    user: UserId,
    page: (i64, i64),
) -> Result<Vec<(i64, Record)>> {
    let (after, limit) = page;
    let rows: Vec<ConsentRow> = on!(conn, c => consents::table
        .filter(consents::app_id.eq(app).and(consents::user_id.eq(user)).and(consents::seq.gt(after)))
        .order(consents::seq)
        .limit(limit)
        .select(ConsentRow::as_select())
        .load(c))?;
    rows.into_iter().map(|row| Ok((row.seq, row.record()?))).collect()
}

/// What a partner of the app is called. The table is another room's; a record must not name a partner that is not there.
pub(in crate::people::consent) fn partner(conn: &mut Conn, app: AppId, partner: PartnerId) -> Result<Option<String>> {
    Ok(on!(conn, c => partners::table
        .filter(partners::app_id.eq(app).and(partners::id.eq(partner)))
        .select(partners::name)
        .first(c)
        .optional())?)
}

/// Which of these users' accounts are disabled.
pub fn disabled(conn: &mut Conn, app: AppId, ids: &[UserId]) -> Result<Vec<UserId>> {
    Ok(on!(conn, c => users::table
        .filter(users::app_id.eq(app).and(users::disabled.eq(true)).and(among(users::id, ids)))
        .select(users::id)
        .load(c))?)
}

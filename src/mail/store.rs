//! All queries about mails and apps' own texts for them.

use super::template::Name;
use super::texts::Text;
use super::{Entry, State};
use crate::error::{Error, Result};
use crate::id::{AppId, MailId, UserId};
use crate::on;
use crate::store::schema::{mail_templates, mails};
use crate::store::{Conn, among};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use std::collections::BTreeMap;

/// What the partial indexes are over: written out, or they are not used.
const WAITS: &str = "state = 'waiting'";
const KEPT: &str = "state = 'kept' and sealed is not null";

#[derive(Queryable, Selectable)]
#[diesel(table_name = mails)]
struct Row {
    app_id: AppId,
    id: MailId,
    user_id: Option<UserId>,
    template: String,
    locale: String,
    state: String,
    reason: Option<String>,
    sealed: Option<Vec<u8>>,
    attempts: i64,
    useful_until_ms: i64,
    created_ms: i64,
    ended_ms: Option<i64>,
}

impl Row {
    fn split(self) -> (Entry, Option<Vec<u8>>) {
        let entry = Entry {
            app_id: self.app_id,
            id: self.id,
            user_id: self.user_id,
            template: self.template,
            locale: self.locale,
            state: self.state,
            reason: self.reason,
            attempts: self.attempts,
            useful_until_ms: self.useful_until_ms,
            created_ms: self.created_ms,
            ended_ms: self.ended_ms,
        };
        (entry, self.sealed)
    }
}

pub(super) fn insert(conn: &mut Conn, entry: &Entry, (recipient, notice, sealed): (&str, bool, &[u8])) -> Result<()> {
    let row = (
        mails::app_id.eq(entry.app_id),
        mails::id.eq(entry.id),
        mails::user_id.eq(entry.user_id),
        mails::recipient.eq(recipient),
        mails::notice.eq(notice),
        mails::template.eq(&entry.template),
        mails::locale.eq(&entry.locale),
        mails::state.eq(&entry.state),
        mails::sealed.eq(sealed),
        mails::attempts.eq(entry.attempts),
        mails::due_ms.eq(entry.created_ms),
        mails::useful_until_ms.eq(entry.useful_until_ms),
        mails::created_ms.eq(entry.created_ms),
    );
    on!(conn, c => diesel::insert_into(mails::table).values(row).execute(c))?;
    Ok(())
}

/// How many mails an address has got since a time, without that time itself.
pub(super) fn count_since(conn: &mut Conn, (app, recipient, notice): (AppId, &str, bool), after_ms: i64) -> Result<i64> {
    Ok(on!(conn, c => mails::table
        .filter(mails::app_id.eq(app).and(mails::recipient.eq(recipient)).and(mails::created_ms.gt(after_ms)))
        .filter(mails::notice.eq(notice))
        .count()
        .get_result(c))?)
}

pub(super) fn newest(conn: &mut Conn, app: Option<AppId>, rows: i64) -> Result<Vec<(Entry, Option<Vec<u8>>)>> {
    // Ids of UUIDv7 sort by time.
    let found: Vec<Row> = match app {
        Some(app) => on!(conn, c => mails::table
            .filter(mails::app_id.eq(app)).order(mails::id.desc()).limit(rows).select(Row::as_select()).load(c))?,
        None => on!(conn, c => mails::table.order(mails::created_ms.desc()).limit(rows).select(Row::as_select()).load(c))?,
    };
    Ok(found.into_iter().map(Row::split).collect())
}

pub(super) fn find(conn: &mut Conn, id: MailId) -> Result<Option<(Entry, Option<Vec<u8>>)>> {
    let row: Option<Row> = on!(conn, c => mails::table.filter(mails::id.eq(id)).select(Row::as_select()).first(c).optional())?;
    Ok(row.map(Row::split))
}

/// One mail of an app.
pub(super) fn entry(conn: &mut Conn, app: AppId, id: MailId) -> Result<Entry> {
    let row: Option<Row> = on!(conn, c => mails::table.find((app, id)).select(Row::as_select()).first(c).optional())?;
    Ok(row.ok_or_else(|| Error::not_found("mail"))?.split().0)
}

/// An app's mails, or those of one user, by id, after a cursor.
pub(super) fn entries(conn: &mut Conn, app: AppId, user: Option<UserId>, (after, rows): (&str, i64)) -> Result<Vec<Entry>> {
    let found: Vec<Row> = match user {
        Some(user) => on!(conn, c => mails::table
            .filter(mails::app_id.eq(app).and(mails::user_id.eq(user)).and(mails::id.gt(after)))
            .order(mails::id).limit(rows).select(Row::as_select()).load(c))?,
        None => on!(conn, c => mails::table
            .filter(mails::app_id.eq(app).and(mails::id.gt(after)))
            .order(mails::id).limit(rows).select(Row::as_select()).load(c))?,
    };
    Ok(found.into_iter().map(|row| row.split().0).collect())
}

/// A mail on its way.
pub(super) struct Claimed {
    pub(super) app_id: AppId,
    pub(super) id: MailId,
    pub(super) template: String,
    pub(super) sealed: Vec<u8>,
    pub(super) attempt: i64,
    pub(super) useful_until_ms: i64,
    pub(super) created_ms: i64,
}

/// The apps that have mails waiting, each with when the first of them is due: one step along the index each.
pub(super) fn waiting(conn: &mut Conn) -> Result<Vec<(AppId, i64)>> {
    let mut all: Vec<(AppId, i64)> = Vec::new();
    loop {
        let after = all.last().map_or_else(String::new, |(app, _)| app.to_string());
        let next: Option<(AppId, i64)> = on!(conn, c => mails::table
            .filter(sql::<Bool>(WAITS).and(mails::app_id.gt(after)))
            .order((mails::app_id, mails::due_ms))
            .select((mails::app_id, mails::due_ms))
            .first(c)
            .optional())?;
        match next {
            Some(next) => all.push(next),
            None => return Ok(all),
        }
    }
}

/// Takes an app's due mails for one attempt each; until `lease_ms` nobody else takes them. One claim at a time: hold
/// `conn.serialise`.
pub(super) fn claim(conn: &mut Conn, app: AppId, (now_ms, lease_ms): (i64, i64), limit: i64) -> Result<Vec<Claimed>> {
    let rows: Vec<Row> = on!(conn, c => mails::table
        .filter(mails::app_id.eq(app).and(sql::<Bool>(WAITS)))
        .filter(mails::due_ms.le(now_ms).and(mails::useful_until_ms.gt(now_ms)))
        .order((mails::due_ms, mails::id))
        .limit(limit)
        .select(Row::as_select())
        .load(c))?;
    let ids: Vec<MailId> = rows.iter().map(|row| row.id).collect();
    on!(conn, c => diesel::update(mails::table.filter(mails::app_id.eq(app).and(among(mails::id, ids))))
        .set((mails::attempts.eq(mails::attempts + 1), mails::due_ms.eq(lease_ms)))
        .execute(c))?;
    let claimed = |row: Row| Claimed {
        app_id: row.app_id,
        id: row.id,
        template: row.template,
        sealed: row.sealed.unwrap_or_default(),
        attempt: row.attempts + 1,
        useful_until_ms: row.useful_until_ms,
        created_ms: row.created_ms,
    };
    Ok(rows.into_iter().map(claimed).collect())
}

/// Ends a mail after this attempt and wipes it; answers false when another attempt has begun meanwhile.
pub(super) fn end(
    conn: &mut Conn,
    (app, id, attempt): (AppId, MailId, i64),
    (state, reason): (State, Option<&str>),
    now_ms: i64,
) -> Result<bool> {
    let target = mails::table.find((app, id)).filter(sql::<Bool>(WAITS).and(mails::attempts.eq(attempt)));
    let values =
        (mails::state.eq(state.word()), mails::reason.eq(reason), mails::sealed.eq(None::<Vec<u8>>), mails::ended_ms.eq(now_ms));
    Ok(on!(conn, c => diesel::update(target).set(values).execute(c))? == 1)
}

/// Lets a mail wait for its next attempt; answers false when that has begun already.
pub(super) fn retry(conn: &mut Conn, (app, id, attempt): (AppId, MailId, i64), (due_ms, reason): (i64, &str)) -> Result<bool> {
    let target = mails::table.find((app, id)).filter(sql::<Bool>(WAITS).and(mails::attempts.eq(attempt)));
    let values = (mails::due_ms.eq(due_ms), mails::reason.eq(reason));
    Ok(on!(conn, c => diesel::update(target).set(values).execute(c))? == 1)
}

/// Ends and wipes what is no longer of use and not on its way; answers the templates.
pub(super) fn expire(conn: &mut Conn, now_ms: i64) -> Result<Vec<String>> {
    let target = mails::table.filter(sql::<Bool>(WAITS).and(mails::useful_until_ms.le(now_ms))).filter(mails::due_ms.le(now_ms));
    let values = (mails::state.eq(State::Expired.word()), mails::sealed.eq(None::<Vec<u8>>), mails::ended_ms.eq(now_ms));
    Ok(on!(conn, c => diesel::update(target).set(values).returning(mails::template).get_results(c))?)
}

/// Whether there is anything to expire, wipe or delete.
pub(super) fn is_untidy(conn: &mut Conn, (now_ms, kept_before_ms, gone_before_ms): (i64, i64, i64)) -> Result<bool> {
    let expired: Option<MailId> = on!(conn, c => mails::table
        .filter(sql::<Bool>(WAITS).and(mails::useful_until_ms.le(now_ms)).and(mails::due_ms.le(now_ms)))
        .select(mails::id).first(c).optional())?;
    let kept: Option<MailId> = on!(conn, c => mails::table
        .filter(sql::<Bool>(KEPT).and(mails::created_ms.le(kept_before_ms)))
        .select(mails::id).first(c).optional())?;
    let gone: Option<MailId> = on!(conn, c => mails::table
        .filter(mails::created_ms.le(gone_before_ms)).select(mails::id).first(c).optional())?;
    Ok(expired.or(kept).or(gone).is_some())
}

/// Wipes what was kept for the operator until now.
pub(super) fn wipe_kept(conn: &mut Conn, before_ms: i64, now_ms: i64) -> Result<()> {
    let target = mails::table.filter(sql::<Bool>(KEPT).and(mails::created_ms.le(before_ms)));
    let values = (mails::sealed.eq(None::<Vec<u8>>), mails::ended_ms.eq(now_ms));
    on!(conn, c => diesel::update(target).set(values).execute(c))?;
    Ok(())
}

/// Forgets that old mails were.
pub(super) fn delete(conn: &mut Conn, before_ms: i64) -> Result<()> {
    on!(conn, c => diesel::delete(mails::table.filter(mails::created_ms.le(before_ms))).execute(c))?;
    Ok(())
}

/// An app's own text.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = mail_templates)]
pub(super) struct Own {
    pub(super) template: String,
    pub(super) locale: String,
    pub(super) subject: String,
    pub(super) body: String,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
}

/// An app's own texts for one template, by locale.
pub(super) fn texts(conn: &mut Conn, app: AppId, (name, locales): (Name, &[String])) -> Result<BTreeMap<String, Text>> {
    let rows: Vec<Own> = on!(conn, c => mail_templates::table
        .filter(mail_templates::app_id.eq(app).and(mail_templates::template.eq(name.word())))
        .filter(among(mail_templates::locale, locales))
        .select(Own::as_select())
        .load(c))?;
    Ok(rows.into_iter().map(|row| (row.locale, Text { subject: row.subject, body: row.body })).collect())
}

pub(super) fn text(conn: &mut Conn, app: AppId, (name, locale): (Name, &str)) -> Result<Own> {
    let row: Option<Own> = on!(conn, c => mail_templates::table
        .find((app, name.word(), locale)).select(Own::as_select()).first(c).optional())?;
    row.ok_or_else(|| Error::not_found("mail template"))
}

/// An app's own texts after one of them, by template and locale.
pub(super) fn text_page(conn: &mut Conn, app: AppId, (after, rows): ((&str, &str), i64)) -> Result<Vec<Own>> {
    let (template, locale) = after;
    Ok(on!(conn, c => mail_templates::table
        .filter(mail_templates::app_id.eq(app))
        .filter(mail_templates::template.gt(template)
            .or(mail_templates::template.eq(template).and(mail_templates::locale.gt(locale))))
        .order((mail_templates::template, mail_templates::locale))
        .limit(rows)
        .select(Own::as_select())
        .load(c))?)
}

pub(super) fn count_texts(conn: &mut Conn, app: AppId) -> Result<i64> {
    Ok(on!(conn, c => mail_templates::table.filter(mail_templates::app_id.eq(app)).count().get_result(c))?)
}

pub(super) fn put_text(conn: &mut Conn, app: AppId, (name, locale, text): (Name, &str, &Text), now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::insert_into(mail_templates::table)
        .values((
            mail_templates::app_id.eq(app),
            mail_templates::template.eq(name.word()),
            mail_templates::locale.eq(locale),
            mail_templates::subject.eq(&text.subject),
            mail_templates::body.eq(&text.body),
            mail_templates::created_ms.eq(now_ms),
            mail_templates::updated_ms.eq(now_ms),
        ))
        .on_conflict((mail_templates::app_id, mail_templates::template, mail_templates::locale))
        .do_update()
        .set((
            mail_templates::subject.eq(&text.subject),
            mail_templates::body.eq(&text.body),
            mail_templates::updated_ms.eq(now_ms),
        ))
        .execute(c))?;
    Ok(())
}

/// Answers whether there was one.
pub(super) fn delete_text(conn: &mut Conn, app: AppId, (name, locale): (Name, &str)) -> Result<bool> {
    let target = mail_templates::table.find((app, name.word(), locale));
    Ok(on!(conn, c => diesel::delete(target).execute(c))? > 0)
}

//! A person's inbox: which of their messages stand in it, and what they did with them.

use crate::error::Result;
use crate::id::{AppId, ChoiceId, MessageId, UserId};
use crate::on;
use crate::store::schema::{inbox, messages};
use crate::store::{Conn, among};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// Which part of the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::moment) enum Shelf {
    /// Read or not, without what was put away.
    Open,
    Unread,
    Read,
    Archived,
}

impl Shelf {
    fn condition(self) -> &'static str {
        match self {
            Self::Open => "i.archived_ms is null",
            Self::Unread => "i.archived_ms is null and i.read_ms is null",
            Self::Read => "i.archived_ms is null and i.read_ms is not null",
            Self::Archived => "i.archived_ms is not null",
        }
    }
}

/// What a person does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::moment) enum Mark {
    Read,
    Unread,
    Archived,
    Unarchived,
}

impl Mark {
    /// Where it changes something.
    fn is_new(self) -> &'static str {
        match self {
            Self::Read => "i.read_ms is null",
            Self::Unread => "i.read_ms is not null",
            Self::Archived => "i.archived_ms is null",
            Self::Unarchived => "i.archived_ms is not null",
        }
    }
}

/// Whose inbox, and when it is looked at.
#[derive(Debug, Clone, Copy)]
pub(in crate::moment) struct Owner {
    pub app: AppId,
    pub user: UserId,
    /// Whether what follows from a test key stands there too: where the session was begun with one.
    pub tests: bool,
    pub now_ms: i64,
}

/// Whether a message stands in the inbox at the time `$3`: what a gateway took, or may have, until its deadline, or until when
/// its content says; with such a time also what was meant for the person and did not get through. What consent, a wish or
/// somebody took back does not, on the phone or not.
fn stands(message: &str) -> String {
    format!(
        "{message}.recalls = '' and {message}.activity_id = '' and {message}.recalled_ms is null and \
         (({message}.state = 'accepted' or {message}.state = 'unknown' and {message}.stop_reason is null) \
         and coalesce({message}.inbox_until_ms, {message}.deadline_ms) > $3 \
         or ({message}.state in ('rejected', 'token_dead', 'expired') and {message}.inbox_until_ms > $3))"
    )
}

/// The messages of a user that stand in the inbox, one per choice, however many devices it went to, and of which this is
/// true.
fn standing(of: Owner, condition: &str) -> String {
    // A rehearsal is nothing that anybody was told.
    let tests = if of.tests { "" } else { "not m.test and " };
    format!(
        "from messages m left join inbox i on i.app_id = m.app_id and i.choice_id = m.choice_id \
         where m.app_id = $1 and m.user_id = $2 and {tests}{} and {condition} and not exists (select 1 from messages o \
         where o.app_id = m.app_id and o.choice_id = m.choice_id and o.id < m.id and {})",
        stands("m"),
        stands("o")
    )
}

/// A page of the inbox, the newest first, before an id ('': from the newest on).
pub(in crate::moment) fn inbox(conn: &mut Conn, of: Owner, shelf: Shelf, (before, rows): (&str, i64)) -> Result<Vec<MessageId>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        id: MessageId,
    }
    let query =
        format!("select m.id as id {} and ($4 = '' or m.id < $4) order by m.id desc limit $5", standing(of, shelf.condition()));
    let found: Vec<Found> = on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(of.app)
        .bind::<Text, _>(of.user)
        .bind::<BigInt, _>(of.now_ms)
        .bind::<Text, _>(before)
        .bind::<BigInt, _>(rows)
        .load(c))?;
    Ok(found.into_iter().map(|row| row.id).collect())
}

/// How many are not read.
pub(in crate::moment) fn unread(conn: &mut Conn, of: Owner) -> Result<i64> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        n: i64,
    }
    let query = format!("select count(*) as n {}", standing(of, Shelf::Unread.condition()));
    let count: Count = on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(of.app)
        .bind::<Text, _>(of.user)
        .bind::<BigInt, _>(of.now_ms)
        .get_result(c))?;
    Ok(count.n)
}

/// What a person did with these choices.
pub(in crate::moment) fn marks(
    conn: &mut Conn,
    app: AppId,
    ids: &[ChoiceId],
) -> Result<Vec<(ChoiceId, Option<i64>, Option<i64>)>> {
    Ok(on!(conn, c => inbox::table
        .filter(inbox::app_id.eq(app).and(among(inbox::choice_id, ids)))
        .select((inbox::choice_id, inbox::read_ms, inbox::archived_ms))
        .load(c))?)
}

/// The choices behind those of these messages that are the user's.
pub(in crate::moment) fn chosen_of(conn: &mut Conn, of: Owner, ids: &[MessageId]) -> Result<Vec<ChoiceId>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(of.app).and(among(messages::id, ids)))
        .filter(messages::user_id.eq(of.user).and(messages::recalls.eq("")))
        .select(messages::choice_id)
        .distinct()
        .load(c))?)
}

/// The choices of what stands in the inbox, was made before a time and is not marked so yet; at most so many.
pub(in crate::moment) fn standing_before(
    conn: &mut Conn,
    of: Owner,
    (mark, before_ms, rows): (Mark, i64, i64),
) -> Result<Vec<ChoiceId>> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Text)]
        id: ChoiceId,
    }
    let query = format!("select m.choice_id as id {} and m.created_ms < $4 order by m.id limit $5", standing(of, mark.is_new()));
    let found: Vec<Found> = on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(of.app)
        .bind::<Text, _>(of.user)
        .bind::<BigInt, _>(of.now_ms)
        .bind::<BigInt, _>(before_ms)
        .bind::<BigInt, _>(rows)
        .load(c))?;
    Ok(found.into_iter().map(|row| row.id).collect())
}

/// Marks choices; answers how many were not marked so before.
pub(in crate::moment) fn mark(conn: &mut Conn, of: Owner, mark: Mark, ids: &[ChoiceId]) -> Result<usize> {
    let mut changed = 0;
    for chunk in ids.chunks(500) {
        if matches!(mark, Mark::Read | Mark::Archived) {
            let row = |id: &ChoiceId| (inbox::app_id.eq(of.app), inbox::choice_id.eq(*id), inbox::user_id.eq(of.user));
            let rows: Vec<_> = chunk.iter().map(row).collect();
            on!(conn, c => diesel::insert_into(inbox::table).values(&rows).on_conflict_do_nothing().execute(c))?;
        }
        let own =
            inbox::table.filter(inbox::app_id.eq(of.app).and(inbox::user_id.eq(of.user)).and(among(inbox::choice_id, chunk)));
        let now_ms = Some(of.now_ms);
        changed += match mark {
            Mark::Read => on!(conn, c => diesel::update(own.filter(inbox::read_ms.is_null()))
                .set(inbox::read_ms.eq(now_ms))
                .execute(c))?,
            Mark::Unread => on!(conn, c => diesel::update(own.filter(inbox::read_ms.is_not_null()))
                .set(inbox::read_ms.eq(None::<i64>))
                .execute(c))?,
            Mark::Archived => on!(conn, c => diesel::update(own.filter(inbox::archived_ms.is_null()))
                .set(inbox::archived_ms.eq(now_ms))
                .execute(c))?,
            Mark::Unarchived => on!(conn, c => diesel::update(own.filter(inbox::archived_ms.is_not_null()))
                .set(inbox::archived_ms.eq(None::<i64>))
                .execute(c))?,
        };
    }
    Ok(changed)
}

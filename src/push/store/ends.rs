//! How attempts and messages end.

use super::{Settlement, WAITS, mode, with};
use crate::error::Result;
use crate::id::{AppId, CampaignId, MessageId};
use crate::on;
use crate::push::ending::Next;
use crate::push::message::{Attempt, Mode, State};
use crate::store::Conn;
use crate::store::schema::messages;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

/// Writes the end of an attempt; false when the message is no longer in this attempt.
pub(in crate::push) fn settle_one(conn: &mut Conn, s: &Settlement) -> Result<bool> {
    let attempt = messages::app_id.eq(s.app_id).and(messages::id.eq(s.id)).and(messages::attempt.eq(s.attempt));
    let target = messages::table.filter(attempt.and(messages::state.eq(State::Sending.word())));
    let common =
        (messages::state.eq(s.state.word()), messages::reason.eq(s.reason.as_deref()), messages::attempts.eq(&s.attempts));
    let rows = match s.due_ms {
        Some(due_ms) => on!(conn, c => diesel::update(target).set((common, messages::due_ms.eq(due_ms))).execute(c))?,
        // What counts keeps its reservation: feedback has nothing to do for it.
        None => on!(conn, c => diesel::update(target)
            .set((common, messages::ended_ms.eq(s.now_ms), messages::settled.eq(s.state.counts())))
            .execute(c))?,
    };
    Ok(rows == 1)
}

/// A message that a crash left in `sending`.
pub(in crate::push) struct Stranded {
    app_id: AppId,
    id: MessageId,
    mode: String,
    attempts: String,
    pub(in crate::push) attempt: i64,
    pub(in crate::push) deadline_ms: i64,
    pub(in crate::push) sending_ms: Option<i64>,
}

impl Stranded {
    pub(in crate::push) fn mode(&self) -> Result<Mode> {
        mode(&self.mode)
    }

    pub(in crate::push) fn settlement(&self, next: &Next, attempt: &Attempt, now_ms: i64) -> Result<Settlement> {
        let attempts = with(&self.attempts, attempt)?;
        Ok(Settlement::new((self.app_id, self.id), (self.attempt, attempts), next, now_ms))
    }
}

pub(in crate::push) fn stranded(conn: &mut Conn) -> Result<Vec<Stranded>> {
    type Columns = (AppId, MessageId, String, String, i64, i64, Option<i64>);
    let rows: Vec<Columns> = on!(conn, c => messages::table
        .filter(sql::<Bool>("state = 'sending'"))
        .select((messages::app_id, messages::id, messages::mode, messages::attempts, messages::attempt,
            messages::deadline_ms, messages::sending_ms))
        .load(c))?;
    let read = |(app_id, id, mode, attempts, attempt, deadline_ms, sending_ms): Columns| Stranded {
        app_id,
        id,
        mode,
        attempts,
        attempt,
        deadline_ms,
        sending_ms,
    };
    Ok(rows.into_iter().map(read).collect())
}

pub(in crate::push) fn cancel_campaign(conn: &mut Conn, app: AppId, campaign: CampaignId, now_ms: i64) -> Result<usize> {
    Ok(on!(conn, c => diesel::update(messages::table
            .filter(messages::app_id.eq(app).and(messages::campaign_id.eq(campaign)).and(sql::<Bool>(WAITS))))
        .set((
            messages::state.eq(State::Cancelled.word()),
            messages::reason.eq("campaign_stopped"),
            messages::ended_ms.eq(now_ms),
        ))
        .execute(c))?)
}

pub(in crate::push) fn cancel(conn: &mut Conn, app: AppId, message: MessageId, now_ms: i64) -> Result<bool> {
    let rows = on!(conn, c => diesel::update(messages::table
            .filter(messages::app_id.eq(app).and(messages::id.eq(message)).and(sql::<Bool>(WAITS))))
        .set((messages::state.eq(State::Cancelled.word()), messages::reason.eq("cancelled"), messages::ended_ms.eq(now_ms)))
        .execute(c))?;
    Ok(rows > 0)
}

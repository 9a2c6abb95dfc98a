//! How attempts and messages end.

use super::{Attempts, FLIES, Fate, Settlement, WAITS, mode};
use crate::error::Result;
use crate::id::{ActivityId, AppId, CampaignId, DecisionId, DeviceId, MessageId};
use crate::on;
use crate::people::device::Environment;
use crate::push::ending::Next;
use crate::push::message::{Attempt, Mode, State};
use crate::push::route::Queue;
use crate::store::schema::{messages, webhooks};
use crate::store::{Conn, among};
use diesel::dsl::{case_when, exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use std::collections::HashMap;

/// What became of the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::push) enum Settled {
    /// It was written.
    Written,
    /// It would wait now, but was stopped while it was being sent: it ended as `cancelled`.
    Stopped,
    /// The message is no longer in this attempt: nothing was written.
    Moved,
}

/// Writes the end of an attempt.
pub(in crate::push) fn settle_one(conn: &mut Conn, s: &Settlement) -> Result<Settled> {
    let Settlement { id, fate } = s;
    let Some(due_ms) = fate.due_ms else {
        let rows = end_fate(conn, &[*id], fate)?;
        return Ok(if rows == 1 { Settled::Written } else { Settled::Moved });
    };
    let attempts = fate.attempts.text()?;
    let attempt = messages::app_id.eq(fate.app_id).and(messages::id.eq(id)).and(messages::attempt.eq(fate.attempt));
    let target = messages::table.filter(attempt.and(messages::state.eq(State::Sending.word())));
    let rows = on!(conn, c => diesel::update(target.filter(messages::stop_reason.is_null()))
        .set((
            messages::state.eq(fate.state.word()),
            messages::reason.eq(fate.reason.as_deref()),
            messages::attempts.eq(&attempts),
            messages::due_ms.eq(due_ms),
        ))
        .execute(c))?;
    if rows == 1 {
        return Ok(Settled::Written);
    }
    let rows = on!(conn, c => diesel::update(target.filter(messages::stop_reason.is_not_null()))
        .set((
            messages::state.eq(State::Cancelled.word()),
            messages::reason.eq(messages::stop_reason),
            messages::attempts.eq(&attempts),
            messages::ended_ms.eq(fate.now_ms),
        ))
        .execute(c))?;
    Ok(if rows == 1 { Settled::Stopped } else { Settled::Moved })
}

/// Writes the ends of messages that do not wait again, one statement for all that end alike; answers how many there
/// were that were still in their attempts.
pub(in crate::push) fn end_alike<'a>(conn: &mut Conn, all: impl Iterator<Item = &'a Settlement>) -> Result<usize> {
    let mut alike: HashMap<&Fate, Vec<MessageId>> = HashMap::new();
    for Settlement { id, fate } in all {
        alike.entry(fate).or_default().push(*id);
    }
    let mut written = 0;
    for (fate, ids) in alike {
        written += end_fate(conn, &ids, fate)?;
    }
    Ok(written)
}

fn end_fate(conn: &mut Conn, ids: &[MessageId], fate: &Fate) -> Result<usize> {
    let attempts = fate.attempts.text()?;
    let attempt = messages::app_id.eq(fate.app_id).and(among(messages::id, ids)).and(messages::attempt.eq(fate.attempt));
    let target = messages::table.filter(attempt.and(messages::state.eq(State::Sending.word())));
    let hears = webhooks::app_id.eq(fate.app_id).and(webhooks::partner_id.eq("")).and(webhooks::results.eq(true));
    let heard = exists(webhooks::table.filter(hears));
    Ok(on!(conn, c => diesel::update(target)
        .set((
            messages::state.eq(fate.state.word()),
            messages::reason.eq(fate.reason.as_deref()),
            messages::attempts.eq(&attempts),
            messages::ended_ms.eq(fate.now_ms),
            // What counts keeps its reservation: feedback has nothing to do for it, unless the app's servers hear of it.
            messages::settled.eq(diesel::dsl::not(heard).and(fate.state.counts().into_sql::<Bool>())),
        ))
        .execute(c))?)
}

/// A message that is `sending` in the database.
pub(in crate::push) struct Stranded {
    app_id: AppId,
    pub(in crate::push) id: MessageId,
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

    /// What is written at the end of this attempt; an attempt that never left is not listed.
    pub(in crate::push) fn settlement(&self, next: &Next, listed: Option<Attempt>, now_ms: i64) -> Settlement {
        let attempts = Attempts { before: self.attempts.clone(), last: listed };
        Settlement::new((self.app_id, self.id), (self.attempt, attempts), next, now_ms)
    }
}

pub(in crate::push) fn sending(conn: &mut Conn) -> Result<Vec<Stranded>> {
    type Columns = (AppId, MessageId, String, String, i64, i64, Option<i64>);
    let rows: Vec<Columns> = on!(conn, c => messages::table
        .filter(sql::<Bool>(FLIES))
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

/// Ends what waits of a campaign, and keeps what is being sent from waiting again; recalls go on.
pub(in crate::push) fn cancel_campaign(
    conn: &mut Conn,
    app: AppId,
    (campaign, reason): (CampaignId, &str),
    now_ms: i64,
) -> Result<()> {
    let those = format!(
        "recalls = '' and id in (select id from messages where app_id = $3 and campaign_id = $4 and {WAITS} \
         union all select id from messages where app_id = $3 and campaign_id = $4 and {FLIES})"
    );
    stop(conn, (app, reason, now_ms), (&those, campaign.to_string())).map(|_| ())
}

/// As [`cancel_campaign`], for the messages of these decisions; answers how many were stopped that had not been before.
pub(in crate::push) fn cancel_decisions(
    conn: &mut Conn,
    app: AppId,
    (of, reason): (&[DecisionId], &str),
    now_ms: i64,
) -> Result<usize> {
    let those = messages::table
        .filter(messages::app_id.eq(app).and(among(messages::decision_id, of)).and(messages::recalls.eq("")))
        .filter(messages::stop_reason.is_null().and(sql::<Bool>(&format!("({WAITS} or {FLIES})"))));
    let cancelled = State::Cancelled.word().into_sql::<Text>();
    Ok(on!(conn, c => diesel::update(those)
        .set((
            messages::stop_reason.eq(reason),
            messages::reason.eq(
                case_when(sql::<Bool>(WAITS), Some(reason).into_sql::<Nullable<Text>>()).otherwise(messages::reason)),
            messages::ended_ms.eq(
                case_when(sql::<Bool>(WAITS), Some(now_ms).into_sql::<Nullable<BigInt>>()).otherwise(messages::ended_ms)),
            messages::state.eq(case_when(sql::<Bool>(WAITS), cancelled).otherwise(messages::state)),
        ))
        .execute(c))?)
}

/// As [`cancel_campaign`], for one message; false when it has ended before, or is not there.
pub(in crate::push) fn cancel(conn: &mut Conn, app: AppId, (message, reason): (MessageId, &str), now_ms: i64) -> Result<bool> {
    stop(conn, (app, reason, now_ms), ("id = $4", message.to_string())).map(|rows| rows > 0)
}

/// As [`cancel_campaign`], for the updates of a Live Activity, or for its start too. The campaign of its start has its UUID.
pub(in crate::push) fn stop_activity(
    conn: &mut Conn,
    app: AppId,
    activity: ActivityId,
    (reason, updates, now_ms): (&str, bool, i64),
) -> Result<()> {
    let those = if updates { "activity_id = $4 and campaign_id <> 'cmp_' || substr(activity_id, 5)" } else { "activity_id = $4" };
    stop(conn, (app, reason, now_ms), (those, activity.to_string())).map(|_| ())
}

/// Lets the updates of a Live Activity on a device that wait go to this token; those that had none yet are due now.
pub(in crate::push) fn readdress(
    conn: &mut Conn,
    app: AppId,
    (activity, device): (ActivityId, DeviceId),
    (token, now_ms): (&str, i64),
) -> Result<()> {
    let query = format!(
        "update messages set token = $1, due_ms = case when token = '' then $2 else due_ms end where app_id = $3 \
         and activity_id = $4 and device_id = $5 and campaign_id <> 'cmp_' || substr(activity_id, 5) and {WAITS}"
    );
    on!(conn, c => diesel::sql_query(&query)
        .bind::<Text, _>(token)
        .bind::<BigInt, _>(now_ms)
        .bind::<Text, _>(app.to_string())
        .bind::<Text, _>(activity.to_string())
        .bind::<Text, _>(device.to_string())
        .execute(c))?;
    Ok(())
}

/// One statement, so that no message slips from the waiting into the sent, or back, between two.
fn stop(conn: &mut Conn, (app, reason, now_ms): (AppId, &str, i64), (those, id): (&str, String)) -> Result<usize> {
    let query = format!(
        "update messages set stop_reason = $1, reason = case when {WAITS} then $1 else reason end, \
         ended_ms = case when {WAITS} then $2 else ended_ms end, \
         state = case when {WAITS} then 'cancelled' else state end \
         where app_id = $3 and {those} and ({WAITS} or {FLIES})"
    );
    Ok(on!(conn, c => diesel::sql_query(query)
        .bind::<Text, _>(reason)
        .bind::<BigInt, _>(now_ms)
        .bind::<Text, _>(app.to_string())
        .bind::<Text, _>(id)
        .execute(c))?)
}

/// Whether a push to this token was ever taken in this world.
pub(in crate::push) fn is_proven(
    conn: &mut Conn,
    app: AppId,
    device: DeviceId,
    (token, environment): (&str, Environment),
) -> Result<bool> {
    let one: Option<MessageId> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::device_id.eq(device)).and(messages::token.eq(token)))
        .filter(messages::environment.eq(environment.name()).and(messages::state.eq(State::Accepted.word())))
        .select(messages::id)
        .first(c)
        .optional())?;
    Ok(one.is_some())
}

/// Sends a waiting message through another of its gateway's worlds.
pub(in crate::push) fn reroute(conn: &mut Conn, app: AppId, (id, queue): (MessageId, &Queue)) -> Result<()> {
    on!(conn, c => diesel::update(messages::table
            .filter(messages::app_id.eq(app).and(messages::id.eq(id)).and(messages::state.eq(State::RetryAt.word()))))
        .set((messages::route.eq(queue.word()), messages::environment.eq(queue.route.environment.name())))
        .execute(c))?;
    Ok(())
}

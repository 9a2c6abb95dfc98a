//! How attempts and messages end.

use super::{Attempts, FLIES, Fate, STILL_FLIES, Settlement, WAITS, ended, mode};
use crate::error::Result;
use crate::id::{ActivityId, AppId, CampaignId, DecisionId, DeviceId, MessageId, UserId};
use crate::on;
use crate::people::device::Environment;
use crate::push::ending::Next;
use crate::push::message::{Attempt, Mode, State};
use crate::push::route::Queue;
use crate::store::schema::{message_bodies, message_states, messages, webhooks};
use crate::store::{Conn, among, among_numbers};
use diesel::dsl::{case_when, exists, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use std::collections::HashMap;

/// What became of the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::push) enum Settled {
    /// It was written.
    Written,
    /// It would wait now, but was stopped while it was being sent, and this attempt has not arrived: it ended as `cancelled`,
    /// or as `unknown` where an earlier one may have.
    Stopped,
    /// The message is no longer in this attempt: nothing was written.
    Moved,
}

/// Writes the end of an attempt.
pub(in crate::push) fn settle_one(conn: &mut Conn, s: &Settlement) -> Result<Settled> {
    let Settlement { n, fate } = s;
    let Some(due_ms) = fate.due_ms else {
        let rows = end_fate(conn, &[*n], fate)?;
        return Ok(if rows == 1 { Settled::Written } else { Settled::Moved });
    };
    let attempts = fate.attempts.text()?;
    let attempt = message_states::app_id.eq(fate.app_id).and(message_states::attempt.eq(fate.attempt));
    let target = message_states::table.find(n).filter(attempt.and(message_states::state.eq(State::Sending.word())));
    let rows = on!(conn, c => diesel::update(target.filter(message_states::stop_reason.is_null()))
        .set((
            message_states::state.eq(fate.state.word()),
            message_states::reason.eq(fate.reason.as_deref()),
            message_states::attempts.eq(&attempts),
            message_states::due_ms.eq(due_ms),
            // For good: that a later attempt has not arrived says nothing of this one.
            message_states::perhaps.eq(message_states::perhaps.or(fate.perhaps.into_sql::<Bool>())),
        ))
        .execute(c))?;
    if rows == 1 {
        return Ok(Settled::Written);
    }
    // Whoever stopped it may have asked it back as well: what may be on the phone is not called cancelled.
    if fate.perhaps {
        let end = Fate { state: State::Unknown, due_ms: None, ..fate.clone() };
        let rows = end_fate(conn, &[*n], &end)?;
        return Ok(if rows == 1 { Settled::Written } else { Settled::Moved });
    }
    let rows = on!(conn, c => diesel::update(target.filter(message_states::stop_reason.is_not_null()))
        .set((
            message_states::state.eq(sql::<Text>(&ended(State::Cancelled))),
            message_states::reason.eq(message_states::stop_reason),
            message_states::attempts.eq(&attempts),
            message_states::ended_ms.eq(fate.now_ms),
        ))
        .execute(c))?;
    Ok(if rows == 1 { Settled::Stopped } else { Settled::Moved })
}

/// Writes the ends of messages that do not wait again, one statement for all that end alike; answers how many there
/// were that were still in their attempts.
pub(in crate::push) fn end_alike<'a>(conn: &mut Conn, all: impl Iterator<Item = &'a Settlement>) -> Result<usize> {
    let mut alike: HashMap<&Fate, Vec<i64>> = HashMap::new();
    for Settlement { n, fate } in all {
        alike.entry(fate).or_default().push(*n);
    }
    let mut written = 0;
    for (fate, numbers) in alike {
        written += end_fate(conn, &numbers, fate)?;
    }
    Ok(written)
}

fn end_fate(conn: &mut Conn, numbers: &[i64], fate: &Fate) -> Result<usize> {
    let attempts = fate.attempts.text()?;
    let attempt = message_states::app_id.eq(fate.app_id).and(message_states::attempt.eq(fate.attempt));
    let target = message_states::table
        .filter(among_numbers(message_states::n, numbers.iter().copied()).and(attempt))
        .filter(sql::<Bool>(STILL_FLIES));
    let hears = webhooks::app_id.eq(fate.app_id).and(webhooks::partner_id.eq("")).and(webhooks::results.eq(true));
    let heard = exists(webhooks::table.filter(hears));
    Ok(on!(conn, c => diesel::update(target)
        .set((
            message_states::state.eq(sql::<Text>(&ended(fate.state))),
            message_states::reason.eq(fate.reason.as_deref()),
            message_states::attempts.eq(&attempts),
            message_states::ended_ms.eq(fate.now_ms),
            // What counts keeps its reservation: feedback has nothing to do for it, unless the app's servers hear of it.
            message_states::settled.eq(diesel::dsl::not(heard).and(fate.state.counts().into_sql::<Bool>())),
        ))
        .execute(c))?)
}

/// A message that is `sending` in the database.
pub(in crate::push) struct Stranded {
    n: i64,
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
        Settlement::new((self.app_id, self.n), (self.attempt, attempts), next, now_ms)
    }
}

pub(in crate::push) fn sending(conn: &mut Conn) -> Result<Vec<Stranded>> {
    type Columns = (i64, AppId, MessageId, String, String, i64, i64, Option<i64>);
    let rows: Vec<Columns> = on!(conn, c => messages::table
        .filter(sql::<Bool>(FLIES))
        .select((messages::n, messages::app_id, messages::id, messages::mode, messages::attempts, messages::attempt,
            messages::deadline_ms, messages::sending_ms))
        .load(c))?;
    let read = |(n, app_id, id, mode, attempts, attempt, deadline_ms, sending_ms): Columns| Stranded {
        n,
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

/// Ends what waits of a campaign, as `unknown` where it may have arrived, and keeps what is being sent from waiting again;
/// recalls go on.
pub(in crate::push) fn cancel_campaign(
    conn: &mut Conn,
    app: AppId,
    (campaign, reason): (CampaignId, &str),
    now_ms: i64,
) -> Result<()> {
    // There is no index by campaign: what waits or flies is looked through.
    let of = |states: &str| {
        format!(
            "select s.n from message_states s join message_bodies b on b.n = s.n where s.app_id = $3 and s.{states} \
             and b.campaign_id = $4 and b.recalls = ''"
        )
    };
    let those = format!("{} union all {}", of(WAITS), of(FLIES));
    stop(conn, (app, reason, now_ms), (&those, campaign.to_string())).map(|_| ())
}

/// As [`cancel_campaign`], for the messages of these decisions; answers how many were stopped that had not been before.
pub(in crate::push) fn cancel_decisions(
    conn: &mut Conn,
    app: AppId,
    (of, reason): (&[DecisionId], &str),
    now_ms: i64,
) -> Result<usize> {
    let of_decisions = message_bodies::table
        .filter(message_bodies::app_id.eq(app).and(among(message_bodies::decision_id, of)).and(message_bodies::recalls.eq("")))
        .select(message_bodies::n);
    let those = message_states::table
        .filter(message_states::n.eq_any(of_decisions).and(message_states::stop_reason.is_null()))
        .filter(sql::<Bool>(&format!("({WAITS} or {FLIES})")));
    let cancelled = sql::<Text>(&ended(State::Cancelled));
    let ended_ms = Some(now_ms).into_sql::<Nullable<BigInt>>();
    let reason_given = Some(reason).into_sql::<Nullable<Text>>();
    Ok(on!(conn, c => diesel::update(those)
        .set((
            message_states::stop_reason.eq(reason),
            message_states::reason.eq(case_when(sql::<Bool>(WAITS), reason_given).otherwise(message_states::reason)),
            message_states::ended_ms.eq(case_when(sql::<Bool>(WAITS), ended_ms).otherwise(message_states::ended_ms)),
            message_states::state.eq(case_when(sql::<Bool>(WAITS), cancelled).otherwise(message_states::state)),
        ))
        .execute(c))?)
}

/// As [`cancel_campaign`], for one message; false when it has ended before, or is not there.
pub(in crate::push) fn cancel(conn: &mut Conn, app: AppId, (message, reason): (MessageId, &str), now_ms: i64) -> Result<bool> {
    let one = "select n from message_bodies where app_id = $3 and id = $4";
    stop(conn, (app, reason, now_ms), (one, message.to_string())).map(|rows| rows > 0)
}

/// As [`cancel_campaign`], for the updates of a Live Activity, or for its start too. The campaign of its start has its UUID.
pub(in crate::push) fn stop_activity(
    conn: &mut Conn,
    app: AppId,
    activity: ActivityId,
    (reason, updates, now_ms): (&str, bool, i64),
) -> Result<()> {
    let but = if updates { NO_START } else { "" };
    let those = format!("select n from message_bodies where app_id = $3 and activity_id = $4 and activity_id <> ''{but}");
    stop(conn, (app, reason, now_ms), (&those, activity.to_string())).map(|_| ())
}

const NO_START: &str = " and campaign_id <> 'cmp_' || substr(activity_id, 5)";

/// Lets the updates of a Live Activity on a device that wait go to this token; those that had none yet are due now.
pub(in crate::push) fn readdress(
    conn: &mut Conn,
    app: AppId,
    (activity, device): (ActivityId, DeviceId),
    (token, now_ms): (&str, i64),
) -> Result<()> {
    let of = format!("app_id = $1 and activity_id = $2 and activity_id <> '' and device_id = $3{NO_START}");
    // Their states first: whoever claims them meanwhile has them, or waits until they have the token.
    let due = format!(
        "update message_states set due_ms = case when n in (select n from message_bodies where {of} and token = '') then $4 \
         else due_ms end where n in (select n from message_bodies where {of}) and {WAITS} returning n"
    );
    let waiting: Vec<Numbered> = on!(conn, c => diesel::sql_query(&due)
        .bind::<Text, _>(app.to_string())
        .bind::<Text, _>(activity.to_string())
        .bind::<Text, _>(device.to_string())
        .bind::<BigInt, _>(now_ms)
        .load(c))?;
    let those = among_numbers(message_bodies::n, waiting.into_iter().map(|one| one.n));
    on!(conn, c => diesel::update(message_bodies::table.filter(those)).set(message_bodies::token.eq(token)).execute(c))?;
    Ok(())
}

#[derive(QueryableByName)]
struct Numbered {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// One statement, so that no message slips from the waiting into the sent, or back, between two. `$3` is the app, `$4` the
/// id.
fn stop(conn: &mut Conn, (app, reason, now_ms): (AppId, &str, i64), (those, id): (&str, String)) -> Result<usize> {
    let cancelled = ended(State::Cancelled);
    let query = format!(
        "update message_states set stop_reason = $1, reason = case when {WAITS} then $1 else reason end, \
         ended_ms = case when {WAITS} then $2 else ended_ms end, \
         state = case when {WAITS} then {cancelled} else state end \
         where n in ({those}) and ({WAITS} or {FLIES})"
    );
    Ok(on!(conn, c => diesel::sql_query(query)
        .bind::<Text, _>(reason)
        .bind::<BigInt, _>(now_ms)
        .bind::<Text, _>(app.to_string())
        .bind::<Text, _>(id)
        .execute(c))?)
}

/// Whether a push of this user to this token was ever taken in this world.
pub(in crate::push) fn is_proven(
    conn: &mut Conn,
    app: AppId,
    (user, device): (UserId, DeviceId),
    (token, environment): (&str, Environment),
) -> Result<bool> {
    let one: Option<MessageId> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::user_id.eq(user)))
        .filter(messages::device_id.eq(device).and(messages::token.eq(token)))
        .filter(messages::environment.eq(environment.name()).and(messages::state.eq(State::Accepted.word())))
        .select(messages::id)
        .first(c)
        .optional())?;
    Ok(one.is_some())
}

/// Sends a waiting message through another of its gateway's worlds.
pub(in crate::push) fn reroute(conn: &mut Conn, of: &Settlement, queue: &Queue) -> Result<()> {
    let waits = message_states::state.eq(State::RetryAt.word());
    let rows = on!(conn, c => diesel::update(message_states::table.find(of.n).filter(waits))
        .set(message_states::route.eq(queue.word()))
        .execute(c))?;
    if rows == 1 {
        on!(conn, c => diesel::update(message_bodies::table.find(of.n))
            .set(message_bodies::environment.eq(queue.route.environment.name()))
            .execute(c))?;
    }
    Ok(())
}

//! Deliveries in the database: written, found, claimed, settled, sent again, forgotten.

use crate::error::{Error, Result};
use crate::id::{AppId, DeliveryId, PartnerId, UserId, WebhookId};
use crate::on;
use crate::store::schema::{webhook_deliveries as deliveries, webhooks};
use crate::store::{Conn, Doc};
use crate::webhook::Event;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde::{Deserialize, Serialize};

/// How many rows one insert takes.
const CHUNK: usize = 500;
/// Attempts that are kept of one delivery; replays add to them.
const ATTEMPTS_KEPT: usize = 50;
/// What is on its way or to be sent; part of an index, so spelt out.
const WAITS: &str = "state = 'waiting'";
/// Why it failed when nothing was tried.
const DISABLED: &str = "disabled";

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::webhook) struct Attempt {
    pub(in crate::webhook) at_ms: i64,
    pub(in crate::webhook) status: Option<u16>,
    pub(in crate::webhook) duration_ms: i64,
    pub(in crate::webhook) failure: Option<String>,
}

/// A stored delivery.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = deliveries, treat_none_as_default_value = false)]
pub(in crate::webhook) struct Delivery {
    pub(in crate::webhook) app_id: AppId,
    pub(in crate::webhook) id: DeliveryId,
    pub(in crate::webhook) webhook_id: WebhookId,
    pub(in crate::webhook) user_id: Option<UserId>,
    pub(in crate::webhook) event_type: String,
    pub(in crate::webhook) body: String,
    pub(in crate::webhook) state: String,
    pub(in crate::webhook) reason: Option<String>,
    pub(in crate::webhook) claims: i64,
    pub(in crate::webhook) tries: i64,
    pub(in crate::webhook) attempts: Doc<Vec<Attempt>>,
    pub(in crate::webhook) due_ms: i64,
    pub(in crate::webhook) created_ms: i64,
    pub(in crate::webhook) ended_ms: Option<i64>,
}

/// A delivery to write.
pub(in crate::webhook) struct NewDelivery<'a> {
    pub(in crate::webhook) id: DeliveryId,
    pub(in crate::webhook) webhook_id: WebhookId,
    /// The endpoint is disabled: kept, not sent.
    pub(in crate::webhook) missed: bool,
    pub(in crate::webhook) body: String,
    pub(in crate::webhook) event: &'a Event,
}

/// How an attempt ends.
#[derive(Debug, Clone)]
pub(in crate::webhook) enum End {
    Delivered,
    Again { due_ms: i64 },
    Failed { reason: String },
}

/// Where something waits, and since or until when the first of it is due.
#[derive(Debug, Clone, QueryableByName)]
pub(in crate::webhook) struct Waiting {
    #[diesel(sql_type = Text)]
    pub(in crate::webhook) app_id: AppId,
    #[diesel(sql_type = Text)]
    pub(in crate::webhook) webhook_id: WebhookId,
    #[diesel(sql_type = BigInt)]
    pub(in crate::webhook) due_ms: i64,
}

/// Writes deliveries; those that are there already stay as they are.
pub(in crate::webhook) fn insert_deliveries(conn: &mut Conn, app: AppId, new: &[NewDelivery<'_>]) -> Result<()> {
    for chunk in new.chunks(CHUNK) {
        let rows: Vec<Delivery> = chunk.iter().map(|one| row(app, one)).collect();
        on!(conn, c => diesel::insert_into(deliveries::table)
            .values(&rows)
            .on_conflict((deliveries::app_id, deliveries::id))
            .do_nothing()
            .execute(c))?;
    }
    Ok(())
}

fn row(app_id: AppId, new: &NewDelivery<'_>) -> Delivery {
    let at_ms = new.event.at_ms;
    Delivery {
        app_id,
        id: new.id,
        webhook_id: new.webhook_id,
        user_id: new.event.user,
        event_type: new.event.kind.to_owned(),
        body: new.body.clone(),
        state: if new.missed { "failed" } else { "waiting" }.to_owned(),
        reason: new.missed.then(|| DISABLED.to_owned()),
        claims: 0,
        tries: 0,
        attempts: Doc(Vec::new()),
        due_ms: at_ms,
        created_ms: at_ms,
        ended_ms: new.missed.then_some(at_ms),
    }
}

/// The first waiting delivery of each endpoint: one step along the index each, however long the queues are. The next
/// endpoint of the same app and the next app are asked for apart: compared as a pair, SQLite would walk the whole queue.
pub(in crate::webhook) fn waiting(conn: &mut Conn) -> Result<Vec<Waiting>> {
    let query = format!(
        "select app_id, webhook_id, due_ms from (select app_id, webhook_id, due_ms from webhook_deliveries where {WAITS} and \
         app_id = $1 and webhook_id > $2 order by webhook_id, due_ms limit 1) as of_this_app union all \
         select app_id, webhook_id, due_ms from (select app_id, webhook_id, due_ms from webhook_deliveries where {WAITS} and \
         app_id > $1 order by app_id, webhook_id, due_ms limit 1) as of_the_next order by app_id, webhook_id limit 1"
    );
    let mut all: Vec<Waiting> = Vec::new();
    loop {
        let last = all.last().map(|w| (w.app_id.to_string(), w.webhook_id.to_string()));
        let (app, webhook) = last.unwrap_or_default();
        let next: Option<Waiting> =
            on!(conn, c => diesel::sql_query(&query).bind::<Text, _>(app).bind::<Text, _>(webhook).get_result(c).optional())?;
        match next {
            Some(waiting) => all.push(waiting),
            None => return Ok(all),
        }
    }
}

/// Claims due deliveries of an endpoint until a lease ends; whoever claims one after that may send it too.
pub(in crate::webhook) fn claim(
    conn: &mut Conn,
    (app, webhook): (AppId, WebhookId),
    limit: usize,
    (now_ms, until_ms): (i64, i64),
) -> Result<Vec<Delivery>> {
    let found: Vec<Delivery> = on!(conn, c => deliveries::table
        .filter(deliveries::app_id.eq(app).and(deliveries::webhook_id.eq(webhook)).and(deliveries::due_ms.le(now_ms)))
        .filter(sql::<Bool>(WAITS))
        .order((deliveries::due_ms, deliveries::id))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX))
        .select(Delivery::as_select())
        .load(c))?;
    let mut claimed = Vec::with_capacity(found.len());
    for mut delivery in found {
        // Another node may have been quicker since the look: then nothing is changed here.
        let same = deliveries::claims.eq(delivery.claims).and(deliveries::due_ms.le(now_ms));
        let changed = on!(conn, c => diesel::update(deliveries::table.find((app, delivery.id)).filter(same))
            .filter(sql::<Bool>(WAITS))
            .set((deliveries::claims.eq(delivery.claims + 1), deliveries::tries.eq(delivery.tries + 1), deliveries::due_ms.eq(until_ms)))
            .execute(c))?;
        if changed == 1 {
            delivery.claims += 1;
            delivery.tries += 1;
            claimed.push(delivery);
        }
    }
    Ok(claimed)
}

/// Writes the end of an attempt, if its claim is still the last one.
pub(in crate::webhook) fn settle(
    conn: &mut Conn,
    delivery: &Delivery,
    attempt: &Attempt,
    (end, now_ms): (&End, i64),
) -> Result<()> {
    let mut attempts = delivery.attempts.0.clone();
    attempts.push(attempt.clone());
    attempts.drain(..attempts.len().saturating_sub(ATTEMPTS_KEPT));
    let (state, reason, due_ms, ended_ms) = match end {
        End::Delivered => ("delivered", None, delivery.due_ms, Some(now_ms)),
        End::Again { due_ms } => ("waiting", None, *due_ms, None),
        End::Failed { reason } => ("failed", Some(reason.as_str()), delivery.due_ms, Some(now_ms)),
    };
    let target = deliveries::table.find((delivery.app_id, delivery.id)).filter(deliveries::claims.eq(delivery.claims));
    on!(conn, c => diesel::update(target)
        .filter(sql::<Bool>(WAITS))
        .set((
            deliveries::state.eq(state),
            deliveries::reason.eq(reason),
            deliveries::attempts.eq(Doc(attempts)),
            deliveries::due_ms.eq(due_ms),
            deliveries::ended_ms.eq(ended_ms),
        ))
        .execute(c))?;
    Ok(())
}

/// Ends what waits for a disabled endpoint; it can be sent again.
pub(in crate::webhook) fn give_up(conn: &mut Conn, (app, webhook): (AppId, WebhookId), now_ms: i64) -> Result<()> {
    let target = deliveries::table.filter(deliveries::app_id.eq(app).and(deliveries::webhook_id.eq(webhook)));
    on!(conn, c => diesel::update(target.filter(sql::<Bool>(WAITS)))
        .set((deliveries::state.eq("failed"), deliveries::reason.eq(DISABLED), deliveries::ended_ms.eq(now_ms)))
        .execute(c))?;
    Ok(())
}

/// Deliveries of an endpoint, the newest first, before an id ('': from the newest on), of one state or all.
pub(in crate::webhook) fn list(
    conn: &mut Conn,
    (app, webhook): (AppId, WebhookId),
    state: Option<&str>,
    (before, rows): (&str, i64),
) -> Result<Vec<Delivery>> {
    Ok(on!(conn, c => {
        let mut query = deliveries::table
            .filter(deliveries::app_id.eq(app).and(deliveries::webhook_id.eq(webhook)))
            .order(deliveries::id.desc())
            .limit(rows)
            .select(Delivery::as_select())
            .into_boxed();
        if !before.is_empty() {
            query = query.filter(deliveries::id.lt(before));
        }
        if let Some(state) = state {
            query = query.filter(deliveries::state.eq(state));
        }
        query.load(c)
    })?)
}

/// Sends one again, now and on a new schedule.
pub(in crate::webhook) fn replay(
    conn: &mut Conn,
    (app, webhook): (AppId, WebhookId),
    id: DeliveryId,
    now_ms: i64,
) -> Result<Delivery> {
    let target = deliveries::table.find((app, id)).filter(deliveries::webhook_id.eq(webhook));
    let changed = on!(conn, c => diesel::update(target).set(anew(now_ms)).execute(c))?;
    if changed == 0 {
        return Err(Error::not_found("delivery"));
    }
    Ok(on!(conn, c => deliveries::table.find((app, id)).select(Delivery::as_select()).first(c))?)
}

/// Sends again all that failed and was made at a time or after it; answers how many.
pub(in crate::webhook) fn replay_since(
    conn: &mut Conn,
    (app, webhook): (AppId, WebhookId),
    (since_ms, now_ms): (i64, i64),
) -> Result<usize> {
    let target = deliveries::table
        .filter(deliveries::app_id.eq(app).and(deliveries::webhook_id.eq(webhook)))
        .filter(deliveries::state.eq("failed").and(deliveries::created_ms.ge(since_ms)));
    Ok(on!(conn, c => diesel::update(target).set(anew(now_ms)).execute(c))?)
}

type Anew = (
    diesel::dsl::Eq<deliveries::state, &'static str>,
    diesel::dsl::Eq<deliveries::reason, Option<String>>,
    diesel::dsl::Eq<deliveries::tries, i64>,
    diesel::dsl::Eq<deliveries::due_ms, i64>,
    diesel::dsl::Eq<deliveries::ended_ms, Option<i64>>,
);

fn anew(now_ms: i64) -> Anew {
    (
        deliveries::state.eq("waiting"),
        deliveries::reason.eq(None),
        deliveries::tries.eq(0),
        deliveries::due_ms.eq(now_ms),
        deliveries::ended_ms.eq(None),
    )
}

/// When the oldest ended delivery ended.
pub(in crate::webhook) fn oldest_end(conn: &mut Conn) -> Result<Option<i64>> {
    let oldest: Option<Option<i64>> = on!(conn, c => deliveries::table
        .filter(deliveries::ended_ms.is_not_null())
        .order(deliveries::ended_ms)
        .select(deliveries::ended_ms)
        .first(c)
        .optional())?;
    Ok(oldest.flatten())
}

/// Forgets deliveries that ended before a time, at most so many; answers how many.
pub(in crate::webhook) fn prune(conn: &mut Conn, before_ms: i64, limit: i64) -> Result<usize> {
    let old: Vec<(AppId, DeliveryId)> = on!(conn, c => deliveries::table
        .filter(deliveries::ended_ms.lt(before_ms))
        .order(deliveries::ended_ms)
        .limit(limit)
        .select((deliveries::app_id, deliveries::id))
        .load(c))?;
    let mut forgotten = 0;
    for (app, id) in old {
        // Sent again since the look: then it is not old any more.
        let target = deliveries::table.find((app, id)).filter(deliveries::ended_ms.lt(before_ms));
        forgotten += on!(conn, c => diesel::delete(target).execute(c))?;
    }
    Ok(forgotten)
}

/// What partners are told about a user: (delivery, partner, body).
pub(in crate::webhook) fn of_partners(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<(DeliveryId, PartnerId, String)>> {
    Ok(on!(conn, c => deliveries::table
        .inner_join(webhooks::table.on(webhooks::app_id.eq(deliveries::app_id).and(webhooks::id.eq(deliveries::webhook_id))))
        .filter(deliveries::app_id.eq(app).and(deliveries::user_id.eq(user)).and(webhooks::partner_id.ne("")))
        .select((deliveries::id, webhooks::partner_id, deliveries::body))
        .load(c))?)
}

/// Cuts a delivery off from the user whom it is about.
pub(in crate::webhook) fn cut_off(conn: &mut Conn, app: AppId, (id, body): (DeliveryId, &str)) -> Result<()> {
    on!(conn, c => diesel::update(deliveries::table.find((app, id)))
        .set((deliveries::body.eq(body), deliveries::user_id.eq(None::<UserId>)))
        .execute(c))?;
    Ok(())
}

/// Forgets every delivery about a user.
pub(in crate::webhook) fn erase(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    let target = deliveries::table.filter(deliveries::app_id.eq(app).and(deliveries::user_id.eq(user)));
    on!(conn, c => diesel::delete(target).execute(c))?;
    Ok(())
}

//! What the outbox holds of a user: messages with their words, tokens and attempts.

use super::State;
use crate::error::Result;
use crate::id::{AppId, DecisionId, UserId};
use crate::on;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, flag, hand_over, plain, time};
use crate::store::schema::{message_bodies, message_states, messages};
use crate::store::{Conn, among_numbers};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// See `platform::personal`. Messages go with their decisions, which `moment` forgets.
pub const ROOM: Room = Room {
    tables: &[Table {
        name: "message_bodies",
        shown_in: Some("messages"),
        section: "messages",
        key: "id",
        whose: OF_USER,
        shows: &[
            plain("id"),
            plain("decision_id"),
            plain("choice_id"),
            plain("device_id"),
            plain("campaign_id"),
            plain("offer_id"),
            plain("platform"),
            plain("token"),
            plain("environment"),
            plain("topic"),
            flag("test"),
            document("payload"),
            plain("collapse_id"),
            document("consent"),
            plain("state"),
            plain("reason"),
            document("attempts"),
            time("due_ms"),
            time("deadline_ms"),
            time("created_ms"),
            time("sending_ms"),
            time("ended_ms"),
            plain("activity_id"),
            plain("recalls"),
            time("recalled_ms"),
            time("inbox_until_ms"),
        ],
        finish: None,
    }],
    erase: Some(|conn, (app, user), budget| {
        // One that is on its way is forgotten after its end.
        if flying(conn, app, user)? {
            budget.wait();
        }
        Ok(())
    }),
    turn_over: Some(turn_over),
    absorb: Some(|conn, merge, budget| hand_over(conn, ("message_bodies", "id"), merge, budget)),
};

/// Locks the messages of decisions before they are deleted.
///
/// # Errors
/// What the database says.
pub fn lock(conn: &mut Conn, app: AppId, of: &[DecisionId]) -> Result<()> {
    super::store::lock(conn, app, of)
}

/// Ends what waits for a user who leaves as `token_dead`, or as `unknown` where it may have arrived; what is being sent goes
/// its way, but is not tried again.
///
/// # Errors
/// What the database says.
pub fn stop(conn: &mut Conn, app: AppId, user: UserId, now_ms: i64) -> Result<()> {
    let dead = super::store::ended(State::TokenDead);
    let query = format!(
        "update message_states set stop_reason = 'user_left', \
         reason = case when state = 'sending' then reason else 'user_left' end, \
         ended_ms = case when state = 'sending' then ended_ms else $1 end, \
         state = case when state = 'sending' then state else {dead} end \
         where n in (select n from message_bodies where app_id = $2 and user_id = $3) \
         and state in ('queued', 'retry_at', 'sending')"
    );
    on!(conn, c => diesel::sql_query(query)
        .bind::<BigInt, _>(now_ms)
        .bind::<Text, _>(app)
        .bind::<Text, _>(user)
        .execute(c))?;
    Ok(())
}

fn flying(conn: &mut Conn, app: AppId, user: UserId) -> Result<bool> {
    let of_user = messages::table.filter(messages::app_id.eq(app).and(messages::user_id.eq(user)));
    let n: i64 = on!(conn, c => of_user.filter(messages::state.eq("sending")).count().get_result(c))?;
    Ok(n > 0)
}

/// What waits goes to the account, along with the devices: it is sent where the device and its token are the account's
/// and the account's ledger allows it, and ends as `token_dead` or `revoked` else, as any other message does.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let of_user = message_bodies::app_id.eq(merge.app).and(message_bodies::user_id.eq(merge.from));
    let in_states = |states: &'static [&'static str]| {
        message_states::table
            .filter(message_states::n.eq_any(message_bodies::table.filter(of_user).select(message_bodies::n)))
            .filter(message_states::state.eq_any(states))
            .select(message_states::n)
    };
    let waits = in_states(&["queued", "retry_at"]);
    // Whoever claims them meanwhile has them, or waits.
    let waits: Vec<i64> = match conn {
        Conn::Sqlite(c) => waits.load(c)?,
        Conn::Postgres(c) => waits.for_update().load(c)?,
    };
    let unended: Vec<i64> = on!(conn, c => in_states(&["queued", "retry_at", "sending"]).load(c))?;
    // The account's epoch may be the same number by chance. What was allowed to the other user is judged anew, also what is
    // being sent, if it waits again: a claim reads it after it has the state.
    on!(conn, c => diesel::update(message_bodies::table.filter(among_numbers(message_bodies::n, unended)))
        .set(message_bodies::consent_epoch.eq(-1))
        .execute(c))?;
    on!(conn, c => diesel::update(message_bodies::table.filter(among_numbers(message_bodies::n, waits)))
        .set(message_bodies::user_id.eq(merge.into))
        .execute(c))?;
    Ok(())
}

//! What the story holds of a user: moments, decisions with their whole input, choices, receipts.

use super::commit::LOCK;
use super::input::Input;
use super::plain::silence;
use super::{activity, direct, feedback, store};
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, MomentId, PushId};
use crate::on;
use crate::platform::personal::{Merge, OF_USER, Room, Table, document, flag, hand_over, packed, plain, time};
use crate::push::{self, State};
use crate::store::schema::{choices, decisions, inbox, message_bodies, messages, moments, receipts};
use crate::store::{Conn, among};
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashSet};

/// Decisions of one transaction.
const DECISIONS_MAX: i64 = 200;
/// An id is made within this time after what it names was decided, in milliseconds.
const NAMED_WITHIN_MS: i64 = 60_000;

/// See `platform::personal`.
pub const ROOM: Room = Room {
    tables: &[
        Table {
            name: "questions",
            shown_in: None,
            section: "questions",
            key: "attribute",
            whose: OF_USER,
            shows: &[plain("attribute"), time("asked_ms"), flag("open"), plain("skips"), time("skipped_ms")],
            finish: None,
        },
        Table {
            name: "push_targets",
            shown_in: None,
            section: "pushes_to_come",
            key: "push_id",
            whose: OF_USER,
            shows: &[plain("push_id"), document("devices")],
            finish: None,
        },
        Table {
            name: "moments",
            shown_in: None,
            section: "moments",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("kind"),
                plain("key"),
                plain("event_id"),
                time("opened_ms"),
                time("closes_ms"),
                flag("test"),
                document("context"),
            ],
            finish: None,
        },
        Table {
            name: "decisions",
            shown_in: None,
            section: "decisions",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("event_id"),
                plain("moment_id"),
                plain("campaign_id"),
                plain("outcome"),
                plain("reason"),
                document("candidates"),
                document("choices"),
                document("hops"),
                time("decided_ms"),
                flag("test"),
                packed("input"),
            ],
            finish: Some(explain),
        },
        Table {
            name: "choices",
            shown_in: None,
            section: "choices",
            key: "id",
            whose: OF_USER,
            shows: &[
                plain("id"),
                plain("decision_id"),
                plain("campaign_id"),
                plain("offer_id"),
                plain("category"),
                flag("critical"),
                plain("state"),
                time("planned_ms"),
                flag("counts"),
                packed("release_input"),
                document("release"),
            ],
            finish: Some(|row| legible(row, "release_input", "known_at_release")),
        },
        Table {
            name: "receipts",
            shown_in: None,
            section: "receipts",
            key: "(message_id || ' ' || kind)",
            whose: "message_id in (select id from messages where app_id = $1 and user_id = $2)",
            shows: &[plain("message_id"), plain("kind"), time("at_ms"), time("received_ms"), plain("action")],
            finish: None,
        },
        Table {
            name: "inbox",
            shown_in: None,
            section: "inbox",
            key: "choice_id",
            whose: OF_USER,
            shows: &[plain("choice_id"), time("read_ms"), time("archived_ms")],
            finish: None,
        },
    ],
    erase: Some(|conn, (app, user), budget| {
        conn.serialise(LOCK)?;
        budget.spend(direct::personal::erase(conn, (app, user), budget.left())?);
        let ids: Vec<DecisionId> = on!(conn, c => decisions::table
            .filter(decisions::app_id.eq(app).and(decisions::user_id.eq(user)))
            .order(decisions::id)
            .limit(DECISIONS_MAX.min(budget.left()))
            .select(decisions::id)
            .load(c))?;
        let gone = forget(conn, app, &ids)?;
        budget.spend(gone);
        if gone < ids.len() {
            budget.wait();
        }
        Ok(())
    }),
    turn_over: Some(turn_over),
    absorb: Some(|conn, merge, budget| {
        conn.serialise(LOCK)?;
        // Both were decided about by one scheduled campaign: the account's decision stays its decision about the account.
        let twice = "update decisions set campaign_id = null where app_id = $1 and user_id = $2 and moment_id is null \
            and campaign_id in (select campaign_id from decisions where app_id = $1 and user_id = $3 and moment_id is null)";
        on!(conn, c => diesel::sql_query(twice)
            .bind::<Text, _>(merge.app)
            .bind::<Text, _>(merge.from)
            .bind::<Text, _>(merge.into)
            .execute(c))?;
        let keys = [("choices", "id"), ("decisions", "id"), ("moments", "id"), ("inbox", "choice_id")];
        keys.into_iter().try_for_each(|table| hand_over(conn, table, merge, budget))
    }),
};

/// What counts in caps, what is held and what is open go to the account at once: it has heard what the anonymous user has
/// heard.
fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    conn.serialise(LOCK)?;
    let heard = choices::table.filter(choices::app_id.eq(merge.app).and(choices::user_id.eq(merge.from)));
    on!(conn, c => diesel::update(heard).set(choices::user_id.eq(merge.into)).execute(c))?;
    let open = moments::table
        .filter(moments::app_id.eq(merge.app).and(moments::user_id.eq(merge.from)).and(moments::closes_ms.gt(merge.now_ms)));
    on!(conn, c => diesel::update(open).set(moments::user_id.eq(merge.into)).execute(c))?;
    direct::personal::turn_over(conn, merge)
}

/// Forgets decisions that were made before a time, the oldest first, with all that belongs to them; answers how many.
///
/// # Errors
/// What the database says.
pub fn expire(conn: &mut Conn, app: AppId, before_ms: i64) -> Result<usize> {
    direct::personal::expire(conn, app, before_ms)?;
    // Along the ids, which begin with the time: there is no index by it.
    let ids: Vec<DecisionId> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::id.lt(DecisionId::floor(before_ms + NAMED_WITHIN_MS))))
        .filter(decisions::decided_ms.lt(before_ms))
        .order(decisions::id)
        .limit(DECISIONS_MAX)
        .select(decisions::id)
        .load(c))?;
    if ids.is_empty() {
        return Ok(0);
    }
    conn.serialise(LOCK)?;
    forget(conn, app, &ids)
}

/// Forgets decisions with their moments, choices, messages and receipts, but for those with a message that is being sent.
/// What had reserved stock and never arrived gives it back. Answers how many were forgotten.
fn forget(conn: &mut Conn, app: AppId, ids: &[DecisionId]) -> Result<usize> {
    if ids.is_empty() {
        return Ok(0);
    }
    push::personal::lock(conn, app, ids)?;
    let flying: Vec<DecisionId> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(among(messages::decision_id, ids)).and(messages::state.eq("sending")))
        .select(messages::decision_id)
        .load(c))?;
    let flying: HashSet<DecisionId> = flying.into_iter().collect();
    let ids: Vec<DecisionId> = ids.iter().filter(|id| !flying.contains(id)).copied().collect();
    let counting: Vec<ChoiceId> = on!(conn, c => choices::table
        .filter(choices::app_id.eq(app).and(among(choices::decision_id, &ids)).and(choices::counts.eq(true)))
        .select(choices::id)
        .load(c))?;
    for choice in counting {
        let states = store::states_of(conn, app, choice)?;
        if !states.iter().any(|word| State::parse(word).is_none_or(|state| state.is_end() && state.counts())) {
            feedback::stop_counting(conn, app, choice)?;
        }
    }
    // Nobody writes a receipt or a mark between the look and the end of this.
    store::lock_receipts(conn, app)?;
    let own = || messages::table.filter(messages::app_id.eq(app).and(among(messages::decision_id, &ids)));
    on!(conn, c => diesel::delete(receipts::table
        .filter(receipts::app_id.eq(app).and(receipts::message_id.eq_any(own().select(messages::id))))).execute(c))?;
    on!(conn, c => diesel::delete(inbox::table
        .filter(inbox::app_id.eq(app).and(inbox::choice_id.eq_any(own().select(messages::choice_id))))).execute(c))?;
    on!(conn, c => diesel::delete(message_bodies::table
        .filter(message_bodies::app_id.eq(app).and(among(message_bodies::decision_id, &ids)))).execute(c))?;
    on!(conn, c => diesel::delete(choices::table
        .filter(choices::app_id.eq(app).and(among(choices::decision_id, &ids)))).execute(c))?;
    let of: Vec<(Option<MomentId>, Option<CampaignId>)> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(among(decisions::id, &ids)))
        .select((decisions::moment_id, decisions::campaign_id))
        .load(c))?;
    // Most campaigns are no direct push: then there is none of their id.
    let pushes: BTreeSet<PushId> = of.iter().filter_map(|(_, campaign)| campaign.map(|id| id.uuid().into())).collect();
    let opened: Vec<MomentId> = of.into_iter().filter_map(|(moment, _)| moment).collect();
    on!(conn, c => diesel::delete(moments::table
        .filter(moments::app_id.eq(app).and(among(moments::id, &opened)))).execute(c))?;
    on!(conn, c => diesel::delete(decisions::table
        .filter(decisions::app_id.eq(app).and(among(decisions::id, &ids)))).execute(c))?;
    let pushes: Vec<PushId> = pushes.into_iter().collect();
    direct::personal::forget_empty(conn, app, &pushes)?;
    activity::personal::forget_empty(conn, app, &pushes)?;
    Ok(ids.len())
}

/// Says in words what was decided, and shows what was known when it was.
fn explain(row: &mut Map<String, Value>) -> Result<()> {
    let reason = row.get("reason").and_then(Value::as_str).unwrap_or("no_candidate");
    let reason = silence(reason).unwrap_or(reason);
    let words = match row.get("outcome").and_then(Value::as_str).unwrap_or_default() {
        "chosen" => "An offer was chosen for you and sent to your devices.".to_owned(),
        "held" => "An offer was chosen for you and waits for the end of your quiet time.".to_owned(),
        "held_out" => "You belonged to a control group that hears nothing.".to_owned(),
        "release_refused" => format!("An offer waited for the end of your quiet time and was not sent then. {reason}"),
        _ => format!("Nothing was sent to you. {reason}"),
    };
    row.insert("in_words".to_owned(), json!(words));
    legible(row, "input", "known")
}

/// Shows what a packed input holds about the person: not the figures of the competition.
fn legible(row: &mut Map<String, Value>, column: &str, name: &str) -> Result<()> {
    let Some(hex) = row.remove(column) else { return Ok(()) };
    let hex = hex.as_str().unwrap_or_default().as_bytes();
    let digits =
        hex.chunks_exact(2).map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    let packed: Option<Vec<u8>> = digits.collect();
    let packed = packed.ok_or_else(|| Error::broken("the database's hex is none"))?;
    // A decision that failed has none.
    if !packed.is_empty() {
        let Input { facts, user, heard, trigger_needs, .. } = Input::unpack(&packed)?;
        row.insert(name.to_owned(), json!({ "facts": facts, "you": user, "heard": heard, "trigger_needs": trigger_needs }));
    }
    Ok(())
}

//! What came of messages, as caps and stock see it.

use crate::error::Result;
use crate::id::{AppId, CampaignId, ChoiceId, MessageId, OfferId, UserId};
use crate::moment::input::is_direct;
use crate::on;
use crate::push::State;
use crate::store::schema::{choices, message_states, messages};
use crate::store::{Conn, among_numbers, part};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

/// An ended message that nobody has looked at.
#[derive(Debug, Clone, Queryable)]
pub(in crate::moment) struct Ended {
    n: i64,
    pub app_id: AppId,
    pub id: MessageId,
    pub choice_id: ChoiceId,
    pub user_id: UserId,
    pub state: String,
    pub reason: Option<String>,
    pub ended_ms: Option<i64>,
    /// The message that it takes back; "": none.
    pub recalls: String,
}

/// Ended messages that nobody has looked at, the oldest first.
pub(in crate::moment) fn ended(conn: &mut Conn, limit: i64) -> Result<Vec<Ended>> {
    Ok(on!(conn, c => messages::table
        .filter(part("settled = false and ended_ms is not null"))
        .order(messages::n)
        .limit(limit)
        .select((
            messages::n,
            messages::app_id,
            messages::id,
            messages::choice_id,
            messages::user_id,
            messages::state,
            messages::reason,
            messages::ended_ms,
            messages::recalls,
        ))
        .load(c))?)
}

/// The states of all messages of a choice, but for recalls.
pub(in crate::moment) fn states_of(conn: &mut Conn, app: AppId, choice: ChoiceId) -> Result<Vec<String>> {
    Ok(on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::choice_id.eq(choice)).and(messages::recalls.eq("")))
        .select(sql::<Text>(&format!("case when perhaps then '{}' else state end", State::Unknown.word())))
        .load(c))?)
}

/// A choice counts no longer; the offer whose stock it held, if it did count. A direct push has none.
pub(in crate::moment) fn stop_counting(conn: &mut Conn, app: AppId, choice: ChoiceId) -> Result<Option<OfferId>> {
    let changed = on!(conn, c => diesel::update(choices::table.find((app, choice)))
        .filter(choices::counts.eq(true))
        .set(choices::counts.eq(false))
        .execute(c))?;
    if changed == 0 {
        return Ok(None);
    }
    let of: Option<(CampaignId, OfferId)> =
        on!(conn, c => choices::table.find((app, choice)).select((choices::campaign_id, choices::offer_id)).first(c).optional())?;
    Ok(of.filter(|(campaign, offer)| !is_direct(*campaign, *offer)).map(|(_, offer)| offer))
}

/// These ended messages have been looked at.
pub(in crate::moment) fn mark_settled(conn: &mut Conn, rows: &[Ended]) -> Result<()> {
    for chunk in rows.chunks(500) {
        let those = among_numbers(message_states::n, chunk.iter().map(|m| m.n));
        on!(conn, c => diesel::update(message_states::table)
            .filter(those.and(message_states::settled.eq(false)).and(message_states::ended_ms.is_not_null()))
            .set(message_states::settled.eq(true))
            .execute(c))?;
    }
    Ok(())
}

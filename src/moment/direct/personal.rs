//! Pushes hold their senders' words: one whose last decision is forgotten goes with it, for it may speak of that person.

use super::Kind;
use super::store::PushRow;
use crate::error::Result;
use crate::id::{AppId, CampaignId, DecisionId, OfferId, PushId, UserId};
use crate::on;
use crate::platform::personal::Merge;
use crate::store::schema::{decisions, push_runs, push_targets, pushes, versions};
use crate::store::{Conn, among};
use diesel::prelude::*;

/// Pushes of one transaction.
const PUSHES_MAX: i64 = 200;

/// Takes a user off the lists of pushes that have not come to them, at most so many; answers how many there were.
///
/// # Errors
/// What the database says.
pub fn erase(conn: &mut Conn, (app, user): (AppId, UserId), limit: i64) -> Result<usize> {
    let own = || push_targets::table.filter(push_targets::app_id.eq(app).and(push_targets::user_id.eq(user)));
    let of: Vec<PushId> = on!(conn, c => own().limit(limit).select(push_targets::push_id).load(c))?;
    on!(conn, c => diesel::delete(own().filter(among(push_targets::push_id, &of))).execute(c))?;
    forget_empty(conn, app, &of)?;
    Ok(of.len())
}

/// Lists that name the anonymous user name the account from now on. Where both are named, the account's entry stays.
///
/// # Errors
/// What the database says.
pub fn turn_over(conn: &mut Conn, merge: &Merge) -> Result<()> {
    let of = |user: UserId| push_targets::table.filter(push_targets::app_id.eq(merge.app).and(push_targets::user_id.eq(user)));
    let named: Vec<PushId> = on!(conn, c => of(merge.into).select(push_targets::push_id).load(c))?;
    on!(conn, c => diesel::delete(of(merge.from).filter(among(push_targets::push_id, &named))).execute(c))?;
    on!(conn, c => diesel::update(of(merge.from)).set(push_targets::user_id.eq(merge.into)).execute(c))?;
    Ok(())
}

/// Forgets those of these pushes of which nothing is left: no decision and nobody to come to.
///
/// # Errors
/// What the database says.
pub fn forget_empty(conn: &mut Conn, app: AppId, ids: &[PushId]) -> Result<()> {
    for id in ids {
        // Of a push to many thousands something is left until the last of them: that is found out first.
        if something_left(conn, app, *id)? {
            continue;
        }
        let row: Option<PushRow> =
            on!(conn, c => pushes::table.find((app, id)).select(PushRow::as_select()).first(c).optional())?;
        let Some(row) = row else { continue };
        // The audience of a topic or a rule may have others that are still to come.
        if row.ended_ms.is_none() && !matches!(row.spec.0.audience, Kind::List { .. }) {
            continue;
        }
        let (campaign, offer): (CampaignId, OfferId) = (id.uuid().into(), id.uuid().into());
        on!(conn, c => diesel::delete(push_runs::table
            .filter(push_runs::app_id.eq(app).and(push_runs::push_id.eq(id)))).execute(c))?;
        let kept = versions::id.eq(campaign.to_string()).or(versions::id.eq(offer.to_string()));
        on!(conn, c => diesel::delete(versions::table.filter(versions::app_id.eq(app).and(kept))).execute(c))?;
        on!(conn, c => diesel::delete(pushes::table.find((app, id))).execute(c))?;
    }
    Ok(())
}

/// Whether there is a decision of a push, or somebody to come to.
fn something_left(conn: &mut Conn, app: AppId, id: PushId) -> Result<bool> {
    let campaign: CampaignId = id.uuid().into();
    let decided: Option<DecisionId> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::campaign_id.eq(campaign)).and(decisions::moment_id.is_null()))
        .select(decisions::id).first(c).optional())?;
    if decided.is_some() {
        return Ok(true);
    }
    let named: Option<UserId> = on!(conn, c => push_targets::table
        .filter(push_targets::app_id.eq(app).and(push_targets::push_id.eq(id)))
        .select(push_targets::user_id).first(c).optional())?;
    Ok(named.is_some())
}

/// Forgets pushes that ended before a time and of which nothing is left.
///
/// # Errors
/// What the database says.
pub fn expire(conn: &mut Conn, app: AppId, before_ms: i64) -> Result<()> {
    let old: Vec<PushId> = on!(conn, c => pushes::table
        .filter(pushes::app_id.eq(app).and(pushes::id.lt(PushId::floor(before_ms))).and(pushes::ended_ms.lt(before_ms)))
        .order(pushes::id)
        .limit(PUSHES_MAX)
        .select(pushes::id)
        .load(c))?;
    forget_empty(conn, app, &old)
}

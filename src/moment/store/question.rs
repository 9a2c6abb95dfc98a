//! What users were asked and passed over, and whom the latest decisions refused for want of an attribute.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::moment::decision::Tried;
use crate::moment::question::{Asked, Refused};
use crate::moment::refusal::Refusal;
use crate::on;
use crate::store::schema::{decisions, questions};
use crate::store::{Conn, Doc};
use diesel::prelude::*;

/// What this user was asked so far; at most one row for each attribute.
pub(in crate::moment) fn asked(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<Asked>> {
    let rows: Vec<(String, i64, bool, i64, Option<i64>)> = on!(conn, c => questions::table
        .filter(questions::app_id.eq(app).and(questions::user_id.eq(user)))
        .select((questions::attribute, questions::asked_ms, questions::open, questions::skips, questions::skipped_ms))
        .load(c))?;
    let asked = |(attribute, asked_ms, open, skips, skipped_ms)| Asked { attribute, asked_ms, open, skips, skipped_ms };
    Ok(rows.into_iter().map(asked).collect())
}

/// Notes that a user is asked for this attribute from now on, and for no other.
pub(in crate::moment) fn note_asked(conn: &mut Conn, (app, user): (AppId, UserId), attribute: &str, now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(questions::table
            .filter(questions::app_id.eq(app).and(questions::user_id.eq(user)).and(questions::open.eq(true))))
        .set(questions::open.eq(false))
        .execute(c))?;
    on!(conn, c => diesel::insert_into(questions::table)
        .values((
            questions::app_id.eq(app),
            questions::user_id.eq(user),
            questions::attribute.eq(attribute),
            questions::asked_ms.eq(now_ms),
            questions::open.eq(true),
            questions::skips.eq(0_i64),
        ))
        .on_conflict((questions::app_id, questions::user_id, questions::attribute))
        .do_update()
        .set((questions::asked_ms.eq(now_ms), questions::open.eq(true)))
        .execute(c))?;
    Ok(())
}

/// Notes that the user passed over a question.
pub(in crate::moment) fn note_skipped(conn: &mut Conn, (app, user): (AppId, UserId), attribute: &str, now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(questions::table.find((app, user, attribute)))
        .set((questions::open.eq(false), questions::skips.eq(questions::skips + 1), questions::skipped_ms.eq(now_ms)))
        .execute(c))?;
    Ok(())
}

/// The candidates that the latest decisions refused at the audience: those about a user, or of a whole app.
pub(in crate::moment) fn refused(conn: &mut Conn, (app, user): (AppId, Option<UserId>), limit: i64) -> Result<Refused> {
    // Ids rise with time, and either is the end of an index.
    let rows: Vec<(Doc<Vec<Tried>>, bool)> = match user {
        Some(user) => on!(conn, c => decisions::table
            .filter(decisions::app_id.eq(app).and(decisions::user_id.eq(user)))
            .order(decisions::id.desc())
            .limit(limit)
            .select((decisions::candidates, decisions::test))
            .load(c))?,
        None => on!(conn, c => decisions::table
            .filter(decisions::app_id.eq(app))
            .order(decisions::id.desc())
            .limit(limit)
            .select((decisions::candidates, decisions::test))
            .load(c))?,
    };
    let mut refused = Refused::new();
    for tried in rows.into_iter().filter(|(_, test)| !test).flat_map(|(candidates, _)| candidates.0) {
        let reason = tried.gates.last().and_then(|gate| gate.reason);
        let offer = (tried.version.campaign_id, tried.version.offer_id);
        if reason == Some(Refusal::MissingProperty) {
            refused.entry(offer).or_default().missing += 1;
        } else if reason == Some(Refusal::NotInAudience) {
            refused.entry(offer).or_default().outside += 1;
        }
    }
    Ok(refused)
}

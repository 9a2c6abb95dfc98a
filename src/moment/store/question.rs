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

/// The candidates that the latest decisions about a user refused because they were not in the audience, or because
/// something was not known that decides it.
pub(in crate::moment) fn refused_of_user(conn: &mut Conn, (app, user): (AppId, UserId), limit: i64) -> Result<Refused> {
    let rows: Vec<Latest> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(decisions::user_id.eq(user)))
        .order(decisions::id.desc())
        .limit(limit)
        .select((decisions::candidates, decisions::test))
        .load(c))?;
    Ok(count(rows, &[Refusal::NotInAudience, Refusal::MissingProperty]))
}

/// The candidates that the latest decisions of an app refused because something was not known that decides whom they are
/// for. Of other users it cannot be told here whether they are out of an audience for want of an answer.
pub(in crate::moment) fn refused_of_app(conn: &mut Conn, app: AppId, limit: i64) -> Result<Refused> {
    let rows: Vec<Latest> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app))
        .order(decisions::id.desc())
        .limit(limit)
        .select((decisions::candidates, decisions::test))
        .load(c))?;
    Ok(count(rows, &[Refusal::MissingProperty]))
}

/// The candidates of a decision, and whether it is a test.
type Latest = (Doc<Vec<Tried>>, bool);

fn count(rows: Vec<Latest>, reasons: &[Refusal]) -> Refused {
    let mut refused = Refused::new();
    for tried in rows.into_iter().filter(|(_, test)| !test).flat_map(|(candidates, _)| candidates.0) {
        if tried.gates.last().and_then(|gate| gate.reason).is_some_and(|reason| reasons.contains(&reason)) {
            *refused.entry((tried.version.campaign_id, tried.version.offer_id)).or_default() += 1;
        }
    }
    refused
}

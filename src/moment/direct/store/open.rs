//! Pushes on their way to their end: which are looked at, how far they are followed, what is left of them.

use super::{PushRow, state};
use crate::error::Result;
use crate::id::{AppId, PushId, UserId};
use crate::moment::direct::State;
use crate::moment::direct::tally::Tally;
use crate::on;
use crate::store::schema::{push_runs, pushes};
use crate::store::{Conn, Doc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;

/// A push that has not ended, without what it says.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = pushes)]
pub(in crate::moment::direct) struct OpenRow {
    pub app_id: AppId,
    pub id: PushId,
    pub name: Option<String>,
    pub state: String,
    pub settled: Doc<Tally>,
    pub cursor_user_id: Option<UserId>,
}

impl OpenRow {
    pub fn state(&self) -> Result<State> {
        state(&self.state)
    }
}

/// Pushes that have not ended and visit nobody any more, after one, in the order of apps and ids.
pub(in crate::moment::direct) fn open_after(conn: &mut Conn, (app, id): (&str, &str), limit: i64) -> Result<Vec<OpenRow>> {
    let behind = pushes::app_id.gt(app).or(pushes::app_id.eq(app).and(pushes::id.gt(id)));
    let of_push = push_runs::app_id.eq(pushes::app_id).and(push_runs::push_id.eq(pushes::id));
    let walks = exists(push_runs::table.filter(of_push.and(push_runs::done.eq(false))));
    Ok(on!(conn, c => pushes::table
        .filter(pushes::ended_ms.is_null().and(behind))
        .filter(pushes::state.eq(State::Cancelled.name()).or(not(walks)))
        .order((pushes::app_id, pushes::id)).limit(limit).select(OpenRow::as_select()).load(c))?)
}

/// Moves the cursor behind which everything has ended; false when somebody else has done so meanwhile.
pub(in crate::moment::direct) fn settle(conn: &mut Conn, row: &OpenRow, to: &Settled<'_>) -> Result<bool> {
    let at = pushes::table.find((row.app_id, row.id)).filter(pushes::ended_ms.is_null());
    let (cursor, state) = (to.cursor.filter(|_| to.ended_ms.is_none()), to.state.name());
    let values = (
        pushes::cursor_user_id.eq(cursor),
        pushes::settled.eq(Doc(to.tally.clone())),
        pushes::ended_ms.eq(to.ended_ms),
        pushes::state.eq(state),
    );
    // A cancellation that came in between is not undone: the next look sees it.
    let at = at.filter(pushes::state.eq(&row.state));
    let rows = match row.cursor_user_id {
        Some(user) => on!(conn, c => diesel::update(at.filter(pushes::cursor_user_id.eq(user))).set(values).execute(c))?,
        None => on!(conn, c => diesel::update(at.filter(pushes::cursor_user_id.is_null())).set(values).execute(c))?,
    };
    Ok(rows == 1)
}

/// See [`settle`].
pub(in crate::moment::direct) struct Settled<'a> {
    pub cursor: Option<UserId>,
    pub tally: &'a Tally,
    pub state: State,
    pub ended_ms: Option<i64>,
}

/// Takes the words off a push that has ended; what is left names nobody and says nothing.
pub(in crate::moment::direct) fn blank(conn: &mut Conn, row: &PushRow) -> Result<()> {
    let spec = row.spec.0.blank();
    let values = (pushes::spec.eq(Doc(spec)), pushes::name.eq(None::<String>));
    on!(conn, c => diesel::update(pushes::table.find((row.app_id, row.id))).set(values).execute(c))?;
    Ok(())
}

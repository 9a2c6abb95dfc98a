//! What was said of users' ages in the database.

use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::on;
use crate::people::consent::Source;
use crate::people::consent::age::Stated;
use crate::store::schema::ages;
use crate::store::{Conn, among};
use diesel::prelude::*;
use std::collections::HashMap;

pub(in crate::people::consent) fn ages(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Stated>> {
    type Columns = (UserId, Option<String>, i64, i64, i64);
    let rows: Vec<Columns> = on!(conn, c => ages::table
        .filter(ages::app_id.eq(app).and(among(ages::user_id, users)))
        .select((ages::user_id, ages::jurisdiction, ages::minimum_years, ages::of_age_ms, ages::stated_ms))
        .load(c))?;
    let said = |(user, jurisdiction, minimum_years, of_age_ms, stated_ms): Columns| {
        (user, Stated { jurisdiction, minimum_years, of_age_ms, stated_ms })
    };
    Ok(rows.into_iter().map(said).collect())
}

pub(in crate::people::consent) fn put_age(
    conn: &mut Conn,
    (app, user): (AppId, UserId),
    stated: &Stated,
    source: Source,
) -> Result<()> {
    let values = (
        ages::jurisdiction.eq(&stated.jurisdiction),
        ages::minimum_years.eq(stated.minimum_years),
        ages::of_age_ms.eq(stated.of_age_ms),
        ages::stated_ms.eq(stated.stated_ms),
        ages::source.eq(source.to_string()),
    );
    on!(conn, c => diesel::insert_into(ages::table)
        .values((ages::app_id.eq(app), ages::user_id.eq(user), values.clone()))
        .on_conflict((ages::app_id, ages::user_id))
        .do_update()
        .set(values)
        .execute(c))?;
    Ok(())
}

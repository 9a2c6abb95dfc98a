//! Dwells and silent visits by the clock.

use super::derive::{self, Derived};
use super::ingest::{Floor, append};
use super::resolve::{Reaches, Who};
use super::store;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::place::{self, Kept};
use crate::store::Conn;
use std::collections::BTreeMap;

/// Subjects of one step.
const SUBJECTS_PER_STEP: i64 = 500;

/// Fires what is due by now, of some subjects.
pub(super) fn tick(conn: &mut Conn, floor: &Floor, now_ms: i64) -> Result<()> {
    let mut by_app: BTreeMap<AppId, BTreeMap<String, Option<UserId>>> = BTreeMap::new();
    for (app, subject, user) in place::due(conn, now_ms, SUBJECTS_PER_STEP)? {
        by_app.entry(app).or_default().insert(subject, user);
    }
    for (app, subjects) in by_app {
        store::lock(conn, app)?;
        tick_app(conn, floor, (app, now_ms), &subjects)?;
    }
    Ok(())
}

fn tick_app(
    conn: &mut Conn,
    floor: &Floor,
    (app, now_ms): (AppId, i64),
    subjects: &BTreeMap<String, Option<UserId>>,
) -> Result<()> {
    let mut reaches = Reaches::new(app, now_ms);
    reaches.need_ledgers(conn, subjects.values().filter_map(|user| *user))?;
    // Whoever took their consent back is not to be followed any longer.
    let (followed, gone): (Vec<String>, Vec<String>) =
        subjects.keys().cloned().partition(|subject| subjects[subject].is_none_or(|user| reaches.location(user)));
    place::forget(conn, app, &gone)?;
    let index = floor.places.index(conn, app)?;
    let before = place::tracks(conn, app, &followed)?;
    let mut after = before.clone();
    let mut derived: Vec<Derived> = Vec::new();
    for (subject, track) in &mut after {
        let who = Who::of_track(subject, subjects.get(subject).copied().flatten());
        derived.extend(track.tick(&index, now_ms).into_iter().map(|moved| derive::transition(&index, who, moved, None)));
    }
    let kept: Vec<Kept<'_>> = after
        .iter()
        .filter_map(|(subject, after)| {
            let user_id = subjects.get(subject).copied().flatten();
            before.get(subject).map(|before| Kept { subject_id: subject, user_id, before, after })
        })
        .collect();
    place::keep(conn, app, &index, &kept)?;
    derived.sort_by_key(|d| d.at_ms);
    append(conn, floor, (&mut reaches, now_ms), derived)
}

//! Places and where subjects stand with them, in the database.

use super::Place;
use super::geometry::{Point, Polygon, Shape};
use super::hours::OpeningHours;
use super::index::Index;
use super::track::{Fix, Sights, Track};
use super::transition::{Stand, Terms};
use crate::error::{Error, Result};
use crate::id::{AppId, PartnerId, PlaceId, UserId};
use crate::on;
use crate::planted::{Bug, planted};
use crate::store::schema::{place_changes, place_revisions, place_states, places, positions};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use diesel::upsert::excluded;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// How many values one `in (…)` takes, and rows one insert.
const CHUNK: usize = 400;
/// How many of the last changes are known place by place; who is further behind reads all places.
const CHANGES_KEPT: i64 = 2_000;
/// Most places that one change is noted of; one of more, an import, makes everybody read all places.
const CHANGES_AT_ONCE: usize = 100;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = places, treat_none_as_default_value = false, treat_none_as_null = true)]
struct PlaceRow {
    app_id: AppId,
    id: PlaceId,
    key: Option<String>,
    name: String,
    kind: String,
    lat: Option<f64>,
    lon: Option<f64>,
    radius_m: Option<f64>,
    geometry: Option<Doc<Vec<Polygon>>>,
    tags: Doc<Vec<String>>,
    opening_hours: Option<Doc<OpeningHours>>,
    dwell_ms: i64,
    stale_after_ms: i64,
    revision: i64,
    shaped_ms: i64,
    created_ms: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = positions, treat_none_as_default_value = false)]
struct PositionRow {
    app_id: AppId,
    subject_id: String,
    user_id: Option<UserId>,
    at_ms: i64,
    lat: Option<f64>,
    lon: Option<f64>,
    accuracy_m: Option<f64>,
    sights: Doc<Sights>,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = place_states, treat_none_as_default_value = false)]
struct StateRow {
    app_id: AppId,
    subject_id: String,
    place_id: PlaceId,
    user_id: Option<UserId>,
    partner_id: Option<PartnerId>,
    state: Doc<Stand>,
    due_ms: Option<i64>,
}

/// One subject before and after a batch.
pub struct Kept<'a> {
    /// The name of the subject: the id of its thing, device or user.
    pub subject_id: &'a str,
    /// Whose position it is, when it is a person's.
    pub user_id: Option<UserId>,
    /// What the database holds.
    pub before: &'a Track,
    /// What it shall hold.
    pub after: &'a Track,
}

impl PlaceRow {
    fn of(app_id: AppId, place: &Place) -> Self {
        let (kind, circle, geometry) = match &place.shape {
            Shape::Circle { center, radius_m } => ("circle", Some((center.lat, center.lon, *radius_m)), None),
            Shape::Polygons(parts) => ("polygon", None, Some(Doc(parts.clone()))),
        };
        Self {
            app_id,
            id: place.id,
            key: place.key.clone(),
            name: place.name.clone(),
            kind: kind.to_owned(),
            lat: circle.map(|c| c.0),
            lon: circle.map(|c| c.1),
            radius_m: circle.map(|c| c.2),
            geometry,
            tags: Doc(place.tags.clone()),
            opening_hours: place.opening_hours.clone().map(Doc),
            dwell_ms: place.terms.dwell_ms,
            stale_after_ms: place.terms.stale_after_ms,
            revision: place.revision,
            shaped_ms: place.shaped_ms,
            created_ms: place.created_ms,
        }
    }

    fn read(self) -> Result<Place> {
        let shape = match (self.geometry, self.lat, self.lon, self.radius_m) {
            (Some(Doc(parts)), ..) => Shape::Polygons(parts),
            (None, Some(lat), Some(lon), Some(radius_m)) => Shape::Circle { center: Point { lat, lon }, radius_m },
            _ => return Err(Error::broken("a place without a shape")),
        };
        Ok(Place {
            id: self.id,
            key: self.key,
            name: self.name,
            shape,
            tags: self.tags.0,
            terms: Terms { dwell_ms: self.dwell_ms, stale_after_ms: self.stale_after_ms },
            opening_hours: self.opening_hours.map(|doc| doc.0),
            revision: self.revision,
            shaped_ms: self.shaped_ms,
            created_ms: self.created_ms,
        })
    }
}

pub(super) fn insert(conn: &mut Conn, app: AppId, all: &[Place]) -> Result<()> {
    let ids: Vec<PlaceId> = all.iter().map(|place| place.id).collect();
    for chunk in all.chunks(CHUNK) {
        let rows: Vec<PlaceRow> = chunk.iter().map(|place| PlaceRow::of(app, place)).collect();
        on!(conn, c => diesel::insert_into(places::table).values(&rows).execute(c))?;
    }
    moved(conn, app, &ids)
}

pub(super) fn update(conn: &mut Conn, app: AppId, place: &Place) -> Result<()> {
    let row = PlaceRow::of(app, place);
    on!(conn, c => diesel::update(places::table.find((app, place.id))).set(&row).execute(c))?;
    // Its times may have changed: the clock looks at every visit anew.
    on!(conn, c => diesel::update(place_states::table.filter(place_states::app_id.eq(app).and(place_states::place_id.eq(place.id))))
        .set(place_states::due_ms.eq(Some(0_i64)))
        .execute(c))?;
    moved(conn, app, &[place.id])
}

pub(super) fn delete(conn: &mut Conn, app: AppId, id: PlaceId) -> Result<bool> {
    let gone = on!(conn, c => diesel::delete(places::table.find((app, id))).execute(c))?;
    on!(conn, c => diesel::delete(place_states::table.filter(place_states::app_id.eq(app).and(place_states::place_id.eq(id)))).execute(c))?;
    moved(conn, app, &[id])?;
    Ok(gone > 0)
}

/// Counts a change on, and notes of which places it was.
fn moved(conn: &mut Conn, app: AppId, ids: &[PlaceId]) -> Result<()> {
    on!(conn, c => diesel::insert_into(place_revisions::table)
        .values((place_revisions::app_id.eq(app), place_revisions::revision.eq(1_i64)))
        .on_conflict(place_revisions::app_id)
        .do_update()
        .set(place_revisions::revision.eq(place_revisions::revision + 1))
        .execute(c))?;
    // The row is locked until the commit: nobody else counts on meanwhile.
    let revision = revision(conn, app)?;
    if ids.len() <= CHANGES_AT_ONCE {
        let rows: Vec<_> = ids
            .iter()
            .map(|id| (place_changes::app_id.eq(app), place_changes::revision.eq(revision), place_changes::place_id.eq(*id)))
            .collect();
        on!(conn, c => diesel::insert_into(place_changes::table).values(&rows).execute(c))?;
    }
    on!(conn, c => diesel::delete(place_changes::table.filter(place_changes::app_id.eq(app)
        .and(place_changes::revision.le(revision - CHANGES_KEPT)))).execute(c))?;
    Ok(())
}

/// Which places changed after the first revision and up to the last one, those that are gone included; nothing when that
/// is no longer known of each.
pub(super) fn changed(conn: &mut Conn, app: AppId, revisions: Range<i64>) -> Result<Option<Vec<PlaceId>>> {
    let Range { start, end } = revisions;
    if end - start > CHANGES_KEPT {
        return Ok(None);
    }
    let rows: Vec<(i64, PlaceId)> = on!(conn, c => place_changes::table
        .filter(place_changes::app_id.eq(app).and(place_changes::revision.gt(start)).and(place_changes::revision.le(end)))
        .select((place_changes::revision, place_changes::place_id))
        .load(c))?;
    let noted: BTreeSet<i64> = rows.iter().map(|(revision, _)| *revision).collect();
    let ids: BTreeSet<PlaceId> = rows.into_iter().map(|(_, id)| id).collect();
    let all = i64::try_from(noted.len()).is_ok_and(|n| n == end - start);
    Ok(all.then(|| ids.into_iter().collect()))
}

pub(super) fn revision(conn: &mut Conn, app: AppId) -> Result<i64> {
    let found: Option<i64> =
        on!(conn, c => place_revisions::table.find(app).select(place_revisions::revision).first(c).optional())?;
    Ok(found.unwrap_or(0))
}

pub(super) fn all(conn: &mut Conn, app: AppId) -> Result<Vec<Place>> {
    let rows: Vec<PlaceRow> = on!(conn, c => places::table.filter(places::app_id.eq(app)).select(PlaceRow::as_select()).load(c))?;
    rows.into_iter().map(PlaceRow::read).collect()
}

pub(super) fn page(conn: &mut Conn, app: AppId, key: Option<&str>, page: (&str, i64)) -> Result<Vec<Place>> {
    let rows: Vec<PlaceRow> = match key {
        Some(key) => on!(conn, c => places::table
            .filter(places::app_id.eq(app).and(places::key.eq(key)).and(places::id.gt(page.0)))
            .order(places::id).limit(page.1).select(PlaceRow::as_select()).load(c))?,
        None => on!(conn, c => places::table
            .filter(places::app_id.eq(app).and(places::id.gt(page.0)))
            .order(places::id).limit(page.1).select(PlaceRow::as_select()).load(c))?,
    };
    rows.into_iter().map(PlaceRow::read).collect()
}

pub(super) fn one(conn: &mut Conn, app: AppId, id: PlaceId) -> Result<Place> {
    let row: Option<PlaceRow> = if planted(Bug::ForgottenApp) {
        on!(conn, c => places::table.filter(places::id.eq(id)).select(PlaceRow::as_select()).first(c).optional())?
    } else {
        on!(conn, c => places::table.find((app, id)).select(PlaceRow::as_select()).first(c).optional())?
    };
    row.ok_or_else(|| Error::not_found("place"))?.read()
}

pub(super) fn by_ids(conn: &mut Conn, app: AppId, ids: &[PlaceId]) -> Result<Vec<Place>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<PlaceRow> = on!(conn, c => places::table
            .filter(places::app_id.eq(app).and(places::id.eq_any(chunk)))
            .select(PlaceRow::as_select()).load(c))?;
        found.extend(rows);
    }
    found.into_iter().map(PlaceRow::read).collect()
}

pub(super) fn tracks(conn: &mut Conn, app: AppId, subjects: &[String]) -> Result<HashMap<String, Track>> {
    let mut tracks: HashMap<String, Track> = subjects.iter().map(|s| (s.clone(), Track::default())).collect();
    for chunk in subjects.chunks(CHUNK) {
        let rows: Vec<PositionRow> = on!(conn, c => positions::table
            .filter(positions::app_id.eq(app).and(positions::subject_id.eq_any(chunk)))
            .select(PositionRow::as_select()).load(c))?;
        for row in rows {
            let track = tracks.entry(row.subject_id).or_default();
            let point = row.lat.zip(row.lon).map(|(lat, lon)| Point { lat, lon });
            track.last = point.map(|point| Fix { at_ms: row.at_ms, point, accuracy_m: row.accuracy_m, partner_id: None });
            track.sights = row.sights.0;
        }
        let rows: Vec<StateRow> = on!(conn, c => place_states::table
            .filter(place_states::app_id.eq(app).and(place_states::subject_id.eq_any(chunk)))
            .select(StateRow::as_select()).load(c))?;
        for row in rows {
            let track = tracks.entry(row.subject_id).or_default();
            track.stands.insert(row.place_id, row.state.0);
            track.partners.extend(row.partner_id.map(|partner| (row.place_id, partner)));
        }
    }
    Ok(tracks)
}

pub(super) fn keep(conn: &mut Conn, app: AppId, index: &Index, all: &[Kept<'_>]) -> Result<()> {
    let (mut fixes, mut states) = (Vec::new(), Vec::new());
    for kept in all {
        if let Some(fix) = kept.after.last.filter(|_| kept.after.last != kept.before.last) {
            fixes.push(PositionRow {
                app_id: app,
                subject_id: kept.subject_id.to_owned(),
                user_id: kept.user_id,
                at_ms: fix.at_ms,
                lat: Some(fix.point.lat),
                lon: Some(fix.point.lon),
                accuracy_m: fix.accuracy_m,
                sights: Doc(kept.after.sights.clone()),
            });
        }
        let gone: Vec<PlaceId> = kept.before.stands.keys().filter(|id| !kept.after.stands.contains_key(id)).copied().collect();
        for chunk in gone.chunks(CHUNK) {
            on!(conn, c => diesel::delete(place_states::table.filter(place_states::app_id.eq(app)
                .and(place_states::subject_id.eq(kept.subject_id)).and(place_states::place_id.eq_any(chunk)))).execute(c))?;
        }
        for (place_id, stand) in &kept.after.stands {
            // A due time of a place whose times were changed is written anew even when the state is not.
            if kept.before.stands.get(place_id) != Some(stand) || kept.before.last == kept.after.last {
                states.push(StateRow {
                    app_id: app,
                    subject_id: kept.subject_id.to_owned(),
                    place_id: *place_id,
                    user_id: kept.user_id,
                    partner_id: kept.after.partners.get(place_id).copied(),
                    state: Doc(*stand),
                    due_ms: index.get(*place_id).and_then(|place| stand.due_ms(place.terms)),
                });
            }
        }
    }
    for rows in fixes.chunks(CHUNK) {
        on!(conn, c => diesel::insert_into(positions::table).values(rows)
            .on_conflict((positions::app_id, positions::subject_id)).do_update()
            .set((positions::user_id.eq(excluded(positions::user_id)), positions::at_ms.eq(excluded(positions::at_ms)),
                positions::lat.eq(excluded(positions::lat)), positions::lon.eq(excluded(positions::lon)),
                positions::accuracy_m.eq(excluded(positions::accuracy_m)), positions::sights.eq(excluded(positions::sights))))
            .execute(c))?;
    }
    for rows in states.chunks(CHUNK) {
        on!(conn, c => diesel::insert_into(place_states::table).values(rows)
            .on_conflict((place_states::app_id, place_states::subject_id, place_states::place_id)).do_update()
            .set((place_states::user_id.eq(excluded(place_states::user_id)), place_states::state.eq(excluded(place_states::state)),
                place_states::partner_id.eq(excluded(place_states::partner_id)), place_states::due_ms.eq(excluded(place_states::due_ms))))
            .execute(c))?;
    }
    Ok(())
}

/// Subjects for whom the clock alone changes something by now, and whose they are; a subject may come up twice.
pub(super) fn due(conn: &mut Conn, now_ms: i64, limit: i64) -> Result<Vec<(AppId, String, Option<UserId>)>> {
    Ok(on!(conn, c => place_states::table.filter(place_states::due_ms.le(now_ms)).order(place_states::due_ms).limit(limit)
        .select((place_states::app_id, place_states::subject_id, place_states::user_id)).load(c))?)
}

pub(super) fn next_due_ms(conn: &mut Conn) -> Result<Option<i64>> {
    Ok(on!(conn, c => place_states::table.select(diesel::dsl::min(place_states::due_ms)).first(c))?)
}

pub(super) fn forget(conn: &mut Conn, app: AppId, subjects: &[String]) -> Result<()> {
    for chunk in subjects.chunks(CHUNK) {
        on!(conn, c => diesel::delete(place_states::table.filter(place_states::app_id.eq(app)
            .and(place_states::subject_id.eq_any(chunk)))).execute(c))?;
        on!(conn, c => diesel::delete(positions::table.filter(positions::app_id.eq(app)
            .and(positions::subject_id.eq_any(chunk)))).execute(c))?;
    }
    Ok(())
}

/// Takes the coordinates from people's positions that are older than a time; when they were seen stays.
pub(super) fn forget_fixes(conn: &mut Conn, app: AppId, before_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(positions::table.filter(positions::app_id.eq(app).and(positions::user_id.is_not_null())
            .and(positions::at_ms.lt(before_ms)).and(positions::lat.is_not_null())))
        .set((positions::lat.eq(None::<f64>), positions::lon.eq(None::<f64>), positions::accuracy_m.eq(None::<f64>)))
        .execute(c))?;
    Ok(())
}

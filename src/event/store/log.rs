//! Events, their counts and the work of the lanes.

use super::CHUNK;
use crate::error::{Error, Result};
use crate::event::{Disposition, Event, Location, Settlement};
use crate::http::FreeJson;
use crate::id::{AppId, DecisionId, DeviceId, EventId, PartnerId, PlaceId, ThingId, UserId, WorkId};
use crate::on;
use crate::store::schema::{event_counts, events, lane_work};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rows of one insert: 22 columns each, and PostgreSQL takes 65,535 values.
const ROWS: usize = 500;

/// An event to be written.
#[derive(Insertable, Clone)]
#[diesel(table_name = events, treat_none_as_default_value = false)]
pub struct EventRow<'a> {
    pub app_id: AppId,
    pub id: EventId,
    pub source: &'a str,
    pub external_id: &'a str,
    pub type_: &'a str,
    pub occurred_ms: i64,
    pub received_ms: i64,
    pub subject: Option<&'a str>,
    pub user_id: Option<UserId>,
    pub thing_id: Option<ThingId>,
    pub device_id: Option<DeviceId>,
    pub partner_id: Option<PartnerId>,
    pub place_id: Option<PlaceId>,
    pub cause_id: Option<EventId>,
    pub properties: &'a str,
    pub lat: Option<f64>,
    pub lon: Option<f64>,
    pub accuracy_m: Option<f64>,
    pub content_hash: &'a str,
    pub test: bool,
    pub disposition: Option<&'a str>,
    pub settled_ms: Option<i64>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = events)]
struct ReadRow {
    app_id: AppId,
    id: EventId,
    source: String,
    external_id: String,
    type_: String,
    occurred_ms: i64,
    received_ms: i64,
    subject: Option<String>,
    user_id: Option<UserId>,
    thing_id: Option<ThingId>,
    device_id: Option<DeviceId>,
    partner_id: Option<PartnerId>,
    place_id: Option<PlaceId>,
    cause_id: Option<EventId>,
    properties: Doc<FreeJson>,
    lat: Option<f64>,
    lon: Option<f64>,
    accuracy_m: Option<f64>,
    test: bool,
    disposition: Option<String>,
    decision_ids: Option<Doc<Vec<DecisionId>>>,
    settled_ms: Option<i64>,
}

/// Work of a lane: an event to be judged for one user.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = lane_work)]
pub struct WorkRow {
    /// Its id; work is done in the order of ids.
    pub id: WorkId,
    /// The tenant.
    pub app_id: AppId,
    /// The user's lane.
    pub lane: i64,
    /// The user.
    pub user_id: UserId,
    /// The event.
    pub event_id: EventId,
    /// The partner that made the link by which a thing's event reached this user.
    pub link_partner_id: Option<PartnerId>,
}

/// Work to be written.
#[derive(Insertable, Clone)]
#[diesel(table_name = lane_work, treat_none_as_default_value = false)]
pub struct NewWork {
    pub id: WorkId,
    pub app_id: AppId,
    pub lane: i64,
    pub user_id: UserId,
    pub event_id: EventId,
    pub link_partner_id: Option<PartnerId>,
}

/// What the log holds under an id.
#[derive(Debug, Clone, Queryable)]
pub struct Known {
    pub external_id: String,
    pub id: EventId,
    pub content_hash: String,
}

/// Keeps other writers of this app's places, things and positions out until the end of the transaction.
pub fn lock(conn: &mut Conn, app: AppId) -> Result<()> {
    conn.serialise(&format!("ground:{app}"))
}

/// Writes events; those whose id is known already are left out. Answers which were written.
pub fn insert(conn: &mut Conn, rows: &[EventRow<'_>]) -> Result<HashSet<EventId>> {
    let mut written = HashSet::with_capacity(rows.len());
    match conn {
        // Cached single-row statements inside one transaction are SQLite's fastest form; with an `on conflict` clause
        // diesel writes the text anew for each row before it finds it in its cache.
        Conn::Sqlite(c) => {
            for row in rows {
                if diesel::insert_or_ignore_into(events::table).values(row).execute(c)? == 1 {
                    written.insert(row.id);
                }
            }
        }
        Conn::Postgres(c) => {
            for chunk in rows.chunks(ROWS) {
                let ids: Vec<EventId> =
                    diesel::insert_into(events::table).values(chunk).on_conflict_do_nothing().returning(events::id).load(c)?;
                written.extend(ids);
            }
        }
    }
    Ok(written)
}

/// What is known under these ids of a source: what test keys send has ids of its own.
pub fn known(conn: &mut Conn, app: AppId, (source, test): (&str, bool), external_ids: &[&str]) -> Result<Vec<Known>> {
    let mut found = Vec::with_capacity(external_ids.len());
    for chunk in external_ids.chunks(CHUNK) {
        let rows: Vec<Known> = on!(conn, c => events::table
            .filter(events::app_id.eq(app).and(events::source.eq(source)).and(events::test.eq(test)).and(events::external_id.eq_any(chunk)))
            .select((events::external_id, events::id, events::content_hash)).load(c))?;
        found.extend(rows);
    }
    Ok(found)
}

pub fn insert_work(conn: &mut Conn, rows: &[NewWork]) -> Result<()> {
    match conn {
        Conn::Sqlite(c) => {
            for row in rows {
                diesel::insert_into(lane_work::table).values(row).execute(c)?;
            }
        }
        Conn::Postgres(c) => {
            for chunk in rows.chunks(ROWS) {
                diesel::insert_into(lane_work::table).values(chunk).execute(c)?;
            }
        }
    }
    Ok(())
}

pub fn work(conn: &mut Conn, limit: i64) -> Result<Vec<WorkRow>> {
    Ok(on!(conn, c => lane_work::table.order(lane_work::id).limit(limit).select(WorkRow::as_select()).load(c))?)
}

pub fn done(conn: &mut Conn, ids: &[WorkId]) -> Result<()> {
    for chunk in ids.chunks(CHUNK) {
        on!(conn, c => diesel::delete(lane_work::table.filter(lane_work::id.eq_any(chunk))).execute(c))?;
    }
    Ok(())
}

/// Adds to the counts of an app.
pub fn count(conn: &mut Conn, app: AppId, counts: &BTreeMap<(String, &'static str), i64>) -> Result<()> {
    for ((source, word), n) in counts {
        on!(conn, c => diesel::insert_into(event_counts::table)
            .values((event_counts::app_id.eq(app), event_counts::source.eq(source), event_counts::disposition.eq(word), event_counts::n.eq(n)))
            .on_conflict((event_counts::app_id, event_counts::source, event_counts::disposition))
            .do_update()
            .set(event_counts::n.eq(event_counts::n + n))
            .execute(c))?;
    }
    Ok(())
}

pub fn load(conn: &mut Conn, app: AppId, ids: &[EventId]) -> Result<HashMap<EventId, Event>> {
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<ReadRow> = on!(conn, c => events::table
            .filter(events::app_id.eq(app).and(events::id.eq_any(chunk)))
            .select(ReadRow::as_select()).load(c))?;
        for row in rows {
            found.insert(row.id, row.read()?);
        }
    }
    Ok(found)
}

impl ReadRow {
    fn read(self) -> Result<Event> {
        let disposition = match &self.disposition {
            None => None,
            Some(word) => Some(Disposition::named(word).ok_or_else(|| Error::broken("an unknown disposition is stored"))?),
        };
        Ok(Event {
            app_id: self.app_id,
            id: self.id,
            source: self.source,
            external_id: self.external_id,
            kind: self.type_,
            occurred_ms: self.occurred_ms,
            received_ms: self.received_ms,
            subject: self.subject,
            user_id: self.user_id,
            thing_id: self.thing_id,
            device_id: self.device_id,
            partner_id: self.partner_id,
            place_id: self.place_id,
            cause_id: self.cause_id,
            properties: self.properties.0.0,
            location: self.lat.zip(self.lon).map(|(lat, lon)| Location { lat, lon, accuracy_m: self.accuracy_m }),
            test: self.test,
            disposition,
            decision_ids: self.decision_ids.map(|doc| doc.0).unwrap_or_default(),
            settled_ms: self.settled_ms,
        })
    }
}

/// What is stored of an event's end, and what several users' lanes add to it.
#[derive(Default)]
struct End {
    disposition: Option<Disposition>,
    decision_ids: Vec<DecisionId>,
    source: String,
}

pub fn settle(conn: &mut Conn, settlements: &[Settlement], now_ms: i64) -> Result<()> {
    let mut by_app: BTreeMap<AppId, Vec<&Settlement>> = BTreeMap::new();
    for settlement in settlements {
        by_app.entry(settlement.app_id).or_default().push(settlement);
    }
    for (app, settlements) in by_app {
        let mut ends = ends(conn, app, &settlements)?;
        let mut counts = BTreeMap::new();
        for settlement in settlements {
            let Some(end) = ends.get_mut(&settlement.event_id) else { continue };
            let counted = match settlement.disposition {
                Disposition::TooOld => end.disposition.is_none(),
                Disposition::Failed => end.disposition != Some(Disposition::Failed),
                _ => false,
            };
            if counted {
                let source = if end.source.starts_with("app:") { "app".to_owned() } else { end.source.clone() };
                *counts.entry((source, settlement.disposition.name())).or_insert(0) += 1;
            }
            end.disposition = end.disposition.max(Some(settlement.disposition));
            end.decision_ids.extend(&settlement.decision_ids);
        }
        write_ends(conn, app, ends, now_ms)?;
        count(conn, app, &counts)?;
    }
    Ok(())
}

fn ends(conn: &mut Conn, app: AppId, settlements: &[&Settlement]) -> Result<HashMap<EventId, End>> {
    let ids: Vec<EventId> = settlements.iter().map(|s| s.event_id).collect::<HashSet<_>>().into_iter().collect();
    let mut ends = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        type Row = (EventId, Option<String>, Option<Doc<Vec<DecisionId>>>, String);
        let rows: Vec<Row> = on!(conn, c => events::table
            .filter(events::app_id.eq(app).and(events::id.eq_any(chunk)))
            .select((events::id, events::disposition, events::decision_ids, events::source)).load(c))?;
        ends.extend(rows.into_iter().map(|(id, disposition, decisions, source)| {
            let disposition = disposition.as_deref().and_then(Disposition::named);
            (id, End { disposition, decision_ids: decisions.map(|d| d.0).unwrap_or_default(), source })
        }));
    }
    Ok(ends)
}

fn write_ends(conn: &mut Conn, app: AppId, ends: HashMap<EventId, End>, now_ms: i64) -> Result<()> {
    let mut plain: BTreeMap<Disposition, Vec<EventId>> = BTreeMap::new();
    for (id, end) in ends {
        let Some(disposition) = end.disposition else { continue };
        if end.decision_ids.is_empty() {
            plain.entry(disposition).or_default().push(id);
            continue;
        }
        on!(conn, c => diesel::update(events::table.find((app, id)))
            .set((events::disposition.eq(disposition.name()), events::decision_ids.eq(Some(Doc(end.decision_ids))), events::settled_ms.eq(now_ms)))
            .execute(c))?;
    }
    for (disposition, ids) in plain {
        for chunk in ids.chunks(CHUNK) {
            on!(conn, c => diesel::update(events::table.filter(events::app_id.eq(app).and(events::id.eq_any(chunk))))
                .set((events::disposition.eq(disposition.name()), events::settled_ms.eq(now_ms)))
                .execute(c))?;
        }
    }
    Ok(())
}

/// How many events there are per source and disposition; "" for those that the lanes have not judged.
pub fn tally(conn: &mut Conn, app: AppId) -> Result<Vec<(String, String, i64)>> {
    type Row = (String, Option<String>, i64);
    let rows: Vec<Row> = on!(conn, c => events::table
        .filter(events::app_id.eq(app))
        .group_by((events::source, events::disposition))
        .select((events::source, events::disposition, diesel::dsl::count_star())).load(c))?;
    Ok(rows.into_iter().map(|(source, disposition, n)| (source, disposition.unwrap_or_default(), n)).collect())
}

/// Takes the fixes from people's events that came before a time, the oldest first; answers of how many.
pub fn forget_fixes(conn: &mut Conn, app: AppId, (before_ms, limit): (i64, i64)) -> Result<usize> {
    let ids: Vec<EventId> = on!(conn, c => events::table
        .filter(events::app_id.eq(app).and(events::lat.is_not_null()).and(events::user_id.is_not_null())
            .and(events::received_ms.lt(before_ms)))
        .order(events::received_ms).limit(limit).select(events::id).load(c))?;
    for chunk in ids.chunks(CHUNK) {
        on!(conn, c => diesel::update(events::table.filter(events::app_id.eq(app).and(events::id.eq_any(chunk))))
            .set((events::lat.eq(None::<f64>), events::lon.eq(None::<f64>), events::accuracy_m.eq(None::<f64>)))
            .execute(c))?;
    }
    Ok(ids.len())
}

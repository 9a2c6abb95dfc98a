//! Things and their links to users.

use super::CHUNK;
use crate::error::{Error, Result};
use crate::event::settle::Held;
use crate::http::FreeJson;
use crate::id::{AppId, LinkId, PartnerId, ThingId, UserId};
use crate::on;
use crate::store::schema::{links, things};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use diesel::upsert::excluded;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// A non-person event source with its last known properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    /// Its id.
    pub id: ThingId,
    /// The app's own name for it, unique in the app.
    pub key: String,
    /// What kind of thing it is, e.g. `aircraft`.
    pub class: Option<String>,
    /// Its last known properties.
    pub properties: Map<String, Value>,
    /// Per declared property, the value held.
    pub held: BTreeMap<String, Held>,
    /// The newest of its events, in UTC milliseconds.
    pub seen_ms: Option<i64>,
    /// When it was made, in UTC milliseconds.
    pub created_ms: i64,
}

/// What ties a user to a thing: a booking, a boarding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// The thing.
    pub thing_id: ThingId,
    /// The user.
    pub user_id: UserId,
    /// The partner that made it; then it counts only under the user's consent for that partner.
    pub partner_id: Option<PartnerId>,
    /// What kind of link it is, e.g. `booking`.
    pub kind: String,
    /// From when it counts, in UTC milliseconds.
    pub starts_ms: Option<i64>,
    /// Until when it counts, in UTC milliseconds; that instant no longer.
    pub ends_ms: Option<i64>,
    /// When it was made, in UTC milliseconds.
    pub created_ms: i64,
}

impl Link {
    /// Whether it counts at this time.
    pub fn holds_at(&self, at_ms: i64) -> bool {
        self.starts_ms.is_none_or(|from| from <= at_ms) && self.ends_ms.is_none_or(|to| at_ms < to)
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = things, treat_none_as_default_value = false)]
struct ThingRow {
    app_id: AppId,
    id: ThingId,
    key: String,
    class: Option<String>,
    properties: Doc<FreeJson>,
    held: Doc<BTreeMap<String, Held>>,
    seen_ms: Option<i64>,
    created_ms: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = links, treat_none_as_default_value = false)]
struct LinkRow {
    app_id: AppId,
    id: LinkId,
    thing_id: ThingId,
    user_id: UserId,
    partner_id: Option<PartnerId>,
    kind: String,
    starts_ms: Option<i64>,
    ends_ms: Option<i64>,
    created_ms: i64,
}

impl ThingRow {
    fn of(app_id: AppId, thing: &Thing) -> Self {
        Self {
            app_id,
            id: thing.id,
            key: thing.key.clone(),
            class: thing.class.clone(),
            properties: Doc(FreeJson(thing.properties.clone())),
            held: Doc(thing.held.clone()),
            seen_ms: thing.seen_ms,
            created_ms: thing.created_ms,
        }
    }

    fn read(self) -> Thing {
        Thing {
            id: self.id,
            key: self.key,
            class: self.class,
            properties: self.properties.0.0,
            held: self.held.0,
            seen_ms: self.seen_ms,
            created_ms: self.created_ms,
        }
    }
}

impl LinkRow {
    fn of(app_id: AppId, link: &Link) -> Self {
        let Link { id, thing_id, user_id, partner_id, kind, starts_ms, ends_ms, created_ms } = link.clone();
        Self { app_id, id, thing_id, user_id, partner_id, kind, starts_ms, ends_ms, created_ms }
    }

    fn read(self) -> Link {
        let Self { id, thing_id, user_id, partner_id, kind, starts_ms, ends_ms, created_ms, .. } = self;
        Link { id, thing_id, user_id, partner_id, kind, starts_ms, ends_ms, created_ms }
    }
}

pub fn insert_things(conn: &mut Conn, app: AppId, all: &[Thing]) -> Result<()> {
    for chunk in all.chunks(CHUNK) {
        let rows: Vec<ThingRow> = chunk.iter().map(|thing| ThingRow::of(app, thing)).collect();
        on!(conn, c => diesel::insert_into(things::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Writes what events changed of things.
pub fn save_things(conn: &mut Conn, app: AppId, all: &[&Thing]) -> Result<()> {
    for chunk in all.chunks(CHUNK) {
        let rows: Vec<ThingRow> = chunk.iter().map(|thing| ThingRow::of(app, thing)).collect();
        on!(conn, c => diesel::insert_into(things::table).values(&rows)
            .on_conflict((things::app_id, things::id)).do_update()
            .set((things::properties.eq(excluded(things::properties)), things::held.eq(excluded(things::held)),
                things::seen_ms.eq(excluded(things::seen_ms))))
            .execute(c))?;
    }
    Ok(())
}

/// Writes what the app said of a thing.
pub fn put_thing(conn: &mut Conn, app: AppId, thing: &Thing) -> Result<()> {
    let row = ThingRow::of(app, thing);
    on!(conn, c => diesel::update(things::table.find((app, thing.id)))
        .set((things::class.eq(&row.class), things::properties.eq(&row.properties))).execute(c))?;
    Ok(())
}

pub fn delete_thing(conn: &mut Conn, app: AppId, id: ThingId) -> Result<()> {
    on!(conn, c => diesel::delete(links::table.filter(links::app_id.eq(app).and(links::thing_id.eq(id)))).execute(c))?;
    on!(conn, c => diesel::delete(things::table.find((app, id))).execute(c))?;
    Ok(())
}

pub fn things_by_ids(conn: &mut Conn, app: AppId, ids: &[ThingId]) -> Result<Vec<Thing>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<ThingRow> = on!(conn, c => things::table
            .filter(things::app_id.eq(app).and(things::id.eq_any(chunk)))
            .select(ThingRow::as_select()).load(c))?;
        found.extend(rows.into_iter().map(ThingRow::read));
    }
    Ok(found)
}

pub fn things_by_keys(conn: &mut Conn, app: AppId, keys: &[&str]) -> Result<Vec<Thing>> {
    let mut found = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        let rows: Vec<ThingRow> = on!(conn, c => things::table
            .filter(things::app_id.eq(app).and(things::key.eq_any(chunk)))
            .select(ThingRow::as_select()).load(c))?;
        found.extend(rows.into_iter().map(ThingRow::read));
    }
    Ok(found)
}

pub fn thing_page(conn: &mut Conn, app: AppId, page: (&str, i64)) -> Result<Vec<Thing>> {
    let rows: Vec<ThingRow> = on!(conn, c => things::table
        .filter(things::app_id.eq(app).and(things::id.gt(page.0)))
        .order(things::id).limit(page.1).select(ThingRow::as_select()).load(c))?;
    Ok(rows.into_iter().map(ThingRow::read).collect())
}

pub fn insert_links(conn: &mut Conn, app: AppId, all: &[Link]) -> Result<()> {
    for chunk in all.chunks(CHUNK) {
        let rows: Vec<LinkRow> = chunk.iter().map(|link| LinkRow::of(app, link)).collect();
        on!(conn, c => diesel::insert_into(links::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Makes a link, or gives the one of this thing, user and kind its new times. Answers it, and whether it is new.
pub fn put_link(conn: &mut Conn, app: AppId, link: &Link) -> Result<(Link, bool)> {
    let row = LinkRow::of(app, link);
    let new = on!(conn, c => diesel::insert_into(links::table).values(&row).on_conflict_do_nothing().execute(c))? == 1;
    if !new {
        on!(conn, c => diesel::update(links::table.filter(links::app_id.eq(app).and(links::thing_id.eq(link.thing_id))
                .and(links::user_id.eq(link.user_id)).and(links::kind.eq(&link.kind))))
            .set((links::partner_id.eq(link.partner_id), links::starts_ms.eq(link.starts_ms), links::ends_ms.eq(link.ends_ms)))
            .execute(c))?;
    }
    let row: Option<LinkRow> = on!(conn, c => links::table
        .filter(links::app_id.eq(app).and(links::thing_id.eq(link.thing_id)).and(links::user_id.eq(link.user_id))
            .and(links::kind.eq(&link.kind)))
        .select(LinkRow::as_select()).first(c).optional())?;
    let link = row.ok_or_else(|| Error::broken("a link vanished while it was written"))?.read();
    Ok((link, new))
}

/// Which links to list.
pub struct LinkPage<'a> {
    /// Of which thing.
    pub thing: ThingId,
    /// After which link.
    pub after: &'a str,
    /// How many.
    pub rows: i64,
}

pub fn link_page(conn: &mut Conn, app: AppId, page: &LinkPage<'_>) -> Result<Vec<Link>> {
    let rows: Vec<LinkRow> = on!(conn, c => links::table
        .filter(links::app_id.eq(app).and(links::thing_id.eq(page.thing)).and(links::id.gt(page.after)))
        .order(links::id).limit(page.rows).select(LinkRow::as_select()).load(c))?;
    Ok(rows.into_iter().map(LinkRow::read).collect())
}

pub fn delete_link(conn: &mut Conn, app: AppId, thing: ThingId, id: LinkId) -> Result<bool> {
    let gone = on!(conn, c => diesel::delete(links::table.filter(links::app_id.eq(app).and(links::id.eq(id))
        .and(links::thing_id.eq(thing)))).execute(c))?;
    Ok(gone > 0)
}

/// All links of these things.
pub fn links_of(conn: &mut Conn, app: AppId, ids: &[ThingId]) -> Result<HashMap<ThingId, Vec<Link>>> {
    let mut found: HashMap<ThingId, Vec<Link>> = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<LinkRow> = on!(conn, c => links::table
            .filter(links::app_id.eq(app).and(links::thing_id.eq_any(chunk)))
            .order(links::id).select(LinkRow::as_select()).load(c))?;
        for row in rows {
            found.entry(row.thing_id).or_default().push(row.read());
        }
    }
    Ok(found)
}

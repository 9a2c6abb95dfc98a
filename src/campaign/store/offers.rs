//! Offers and their stock in the database.

use super::{CHUNK, room_for_one};
use crate::campaign::Offer;
use crate::error::{Error, Result};
use crate::id::{AppId, OfferId, PartnerId};
use crate::on;
use crate::store::{Conn, Doc, schema::offers};
use diesel::prelude::*;
use std::collections::HashMap;

/// Most offers of one app that are not archived.
const OFFERS_MAX: i64 = 20_000;

/// A stored offer.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = offers, treat_none_as_default_value = false)]
pub struct OfferRow {
    pub app_id: AppId,
    pub id: OfferId,
    pub partner_id: Option<PartnerId>,
    pub name: String,
    pub spec: Doc<Offer>,
    pub stock: Option<i64>,
    pub stock_reserved: i64,
    pub archived: bool,
    pub revision: i64,
    pub created_ms: i64,
    pub updated_ms: i64,
}

pub fn get(conn: &mut Conn, app: AppId, id: OfferId) -> Result<OfferRow> {
    let found = on!(conn, c => offers::table.find((app, id)).select(OfferRow::as_select()).first(c).optional())?;
    found.ok_or_else(|| Error::not_found("offer"))
}

pub fn page(conn: &mut Conn, app: AppId, (after, rows): (&str, i64)) -> Result<Vec<OfferRow>> {
    Ok(on!(conn, c => offers::table
        .filter(offers::app_id.eq(app).and(offers::id.gt(after)))
        .order(offers::id).limit(rows).select(OfferRow::as_select()).load(c))?)
}

pub fn by_ids(conn: &mut Conn, app: AppId, ids: &[OfferId]) -> Result<HashMap<OfferId, OfferRow>> {
    let mut found = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<OfferRow> = on!(conn, c => offers::table
            .filter(offers::app_id.eq(app).and(offers::id.eq_any(chunk))).select(OfferRow::as_select()).load(c))?;
        found.extend(rows.into_iter().map(|row| (row.id, row)));
    }
    Ok(found)
}

pub fn insert(conn: &mut Conn, row: &OfferRow) -> Result<()> {
    let count = on!(conn, c => offers::table
        .filter(offers::app_id.eq(row.app_id).and(offers::archived.eq(false))).count().get_result(c))?;
    room_for_one(count, OFFERS_MAX, "offers that are not archived")?;
    on!(conn, c => diesel::insert_into(offers::table).values(row).execute(c))?;
    Ok(())
}

/// Writes a new spec; the stock that is reserved stays. Whether the new stock holds it.
pub fn update(conn: &mut Conn, row: &OfferRow) -> Result<bool> {
    let fits = offers::stock_reserved.le(row.stock.unwrap_or(i64::MAX));
    let target = offers::table.filter(offers::app_id.eq(row.app_id).and(offers::id.eq(row.id)).and(fits));
    let values = (
        offers::name.eq(&row.name),
        offers::spec.eq(&row.spec),
        offers::stock.eq(row.stock),
        offers::archived.eq(row.archived),
        offers::revision.eq(row.revision),
        offers::updated_ms.eq(row.updated_ms),
    );
    let written = on!(conn, c => diesel::update(target).set(values).execute(c))?;
    Ok(written == 1)
}

/// Takes `n` from the stock, if there is so much.
pub fn reserve(conn: &mut Conn, app: AppId, (id, n): (OfferId, i64)) -> Result<bool> {
    // One statement: the check and the change cannot be parted, whatever other nodes do.
    let fits = offers::stock.is_null().or((offers::stock_reserved + n).nullable().le(offers::stock));
    let target = offers::table.filter(offers::app_id.eq(app).and(offers::id.eq(id)).and(fits));
    let written = on!(conn, c => diesel::update(target)
        .set(offers::stock_reserved.eq(offers::stock_reserved + n)).execute(c))?;
    Ok(written == 1)
}

/// Gives `n` back to the stock.
pub fn release(conn: &mut Conn, app: AppId, (id, n): (OfferId, i64)) -> Result<()> {
    let target = offers::table.filter(offers::app_id.eq(app).and(offers::id.eq(id)).and(offers::stock_reserved.ge(n)));
    let written = on!(conn, c => diesel::update(target)
        .set(offers::stock_reserved.eq(offers::stock_reserved - n)).execute(c))?;
    if written == 0 {
        return Err(Error::broken("more stock was given back than was taken"));
    }
    Ok(())
}

/// What is left of the stocks of these offers.
pub fn stock_left(conn: &mut Conn, app: AppId, ids: &[OfferId]) -> Result<HashMap<OfferId, i64>> {
    let mut left = HashMap::new();
    for chunk in ids.chunks(CHUNK) {
        let rows: Vec<(OfferId, Option<i64>, i64)> = on!(conn, c => offers::table
            .filter(offers::app_id.eq(app).and(offers::id.eq_any(chunk)).and(offers::stock.is_not_null()))
            .select((offers::id, offers::stock, offers::stock_reserved)).load(c))?;
        left.extend(rows.into_iter().filter_map(|(id, stock, reserved)| Some((id, stock? - reserved))));
    }
    Ok(left)
}

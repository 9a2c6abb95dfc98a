//! What the ledger tells by webhook: the app hears of every record, a partner of the withdrawals that concern it.

use super::{Extent, Ledger, Record};
use crate::clock::Time;
use crate::error::Result;
use crate::id::{AppId, ConsentId, PartnerId};
use crate::store::Conn;
use crate::webhook::{self, Event, SUBJECT};
use serde_json::{Value, json};

/// Tells of one new record, in its transaction. `before` is the ledger without it.
pub(super) fn tell(conn: &mut Conn, app: AppId, (record, ended): (&Record, &[Record]), before: &Ledger) -> Result<()> {
    let mut events = vec![to_app(record, ended)];
    if !record.row.granted {
        events.extend(before.concerned(&record.row.extent, record.at_ms).into_iter().map(|partner| to_partner(record, partner)));
    }
    webhook::emit_all(conn, app, &events)
}

/// Tells of grants of many users at once.
pub(super) fn tell_granted(conn: &mut Conn, app: AppId, records: &[Record]) -> Result<()> {
    let events: Vec<Event> = records.iter().map(|record| to_app(record, &[])).collect();
    webhook::emit_all(conn, app, &events)
}

fn to_app(record: &Record, ended: &[Record]) -> Event {
    let Extent { purpose, channel, partner } = &record.row.extent;
    let mut data = json!({ "consent": record.row.id, "purpose": purpose });
    put(&mut data, "channel", channel.as_ref());
    put(&mut data, "partner", partner.as_ref());
    put(&mut data, "text_version", record.row.text_version.as_ref());
    if !ended.is_empty() {
        data["ended"] = json!(ended.iter().map(|grant| grant.row.id).collect::<Vec<ConsentId>>());
    }
    let kind = if record.row.granted { "consent.granted" } else { "consent.withdrawn" };
    Event::of_user(kind, (record.user, record.at_ms), record.row.id, data)
}

fn to_partner(record: &Record, partner: PartnerId) -> Event {
    let Extent { purpose, channel, .. } = &record.row.extent;
    let mut data = json!({ "subject": SUBJECT, "purpose": purpose, "effective_at": Time(record.at_ms) });
    put(&mut data, "channel", channel.as_ref());
    let once = record.row.id.to_string();
    Event { kind: "consent.withdrawn", at_ms: record.at_ms, once, user: Some(record.user), partner: Some(partner), data }
}

fn put(data: &mut Value, name: &str, value: Option<&impl serde::Serialize>) {
    if let Some(value) = value {
        data[name] = json!(value);
    }
}

//! Export: everything held about a user as one JSON document, read and sent page by page.
//!
//! Each page is a read of its own, so that the database is not held and little is in memory, however much there is; what
//! changes meanwhile may be in it or not.

use super::ROOMS;
use crate::app;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::id::{AppId, PartnerId, UserId};
use crate::people::profile;
use crate::people::{consent, device};
use crate::platform::Platform;
use crate::platform::personal::{self, Table};
use crate::store::Conn;
use actix_web::web::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The name of the document's form; another form gets another name.
const SCHEMA: &str = "kairos.export/1";
/// Rows of one page.
const ROWS: i64 = 200;

/// A document on its way out.
pub(super) struct Export {
    platform: Platform,
    whose: (AppId, UserId),
    head: Map<String, Value>,
    tables: Vec<&'static Table>,
    /// What comes next.
    at: At,
}

/// A place in the document.
enum At {
    Head,
    /// In a table, after a key; whether it is its first page.
    Table(usize, String, bool),
    End,
}

impl Export {
    /// Begins the export of a user; one who is leaving can still be exported.
    ///
    /// # Errors
    /// 404 when there is no such user.
    pub(super) async fn begin(platform: &Platform, (app, user): (AppId, UserId)) -> Result<Self> {
        let now_ms = platform.clock.now_ms();
        let head = platform.store.read(move |conn| head(conn, (app, user), now_ms)).await?;
        let tables = ROOMS.iter().flat_map(|room| room.tables).collect();
        Ok(Self { platform: platform.clone(), whose: (app, user), head, tables, at: At::Head })
    }

    /// The document in pieces. It breaks off where the database fails: then it is no JSON.
    pub(super) fn pieces(self) -> impl Stream<Item = Result<Bytes>> {
        unfold(Some(self), |export| async move {
            let mut export = export?;
            match export.piece().await {
                Ok(Some(piece)) => Some((Ok(Bytes::from(piece)), Some(export))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn piece(&mut self) -> Result<Option<String>> {
        match std::mem::replace(&mut self.at, At::End) {
            At::Head => {
                let head = Value::Object(std::mem::take(&mut self.head)).to_string();
                self.at = At::Table(0, String::new(), true);
                // The head stays open for the rows.
                let open = head.strip_suffix('}').unwrap_or(&head);
                Ok(Some(format!("{open},\"data\":{{")))
            }
            At::Table(n, after, first) => match self.tables.get(n).copied() {
                Some(table) => self.page((n, table), after, first).await.map(Some),
                None => Ok(Some("}}".to_owned())),
            },
            At::End => Ok(None),
        }
    }

    async fn page(&mut self, (n, table): (usize, &'static Table), after: String, first: bool) -> Result<String> {
        let whose = self.whose;
        let rows = self.platform.store.read(move |conn| personal::page(conn, table, whose, (&after, ROWS))).await?;
        let mut text = String::new();
        if first {
            text.push_str(if n == 0 { "" } else { "," });
            text.push_str(&format!("{}:[", Value::from(table.section)));
        }
        for (m, (_, row)) in rows.iter().enumerate() {
            text.push_str(if first && m == 0 { "" } else { "," });
            text.push_str(&serde_json::to_string(row).map_err(Error::broken)?);
        }
        let full = i64::try_from(rows.len()).is_ok_and(|len| len == ROWS);
        self.at = match rows.into_iter().next_back() {
            Some((key, _)) if full => At::Table(n, key, false),
            _ => {
                text.push(']');
                At::Table(n + 1, String::new(), true)
            }
        };
        Ok(text)
    }
}

/// What a copy of personal data has to say besides (GDPR, article 15).
fn head(conn: &mut Conn, (app, user): (AppId, UserId), now_ms: i64) -> Result<Map<String, Value>> {
    if !profile::personal::is_there(conn, app, user)? {
        return Err(Error::not_found("user"));
    }
    let settings = app::settings(conn, app)?;
    let purposes: Vec<Value> = consent::declared(conn, app)?
        .into_iter()
        .map(|purpose| json!({ "key": purpose.key, "name": purpose.name, "basis": purpose.basis }))
        .collect();
    let shown: Vec<Value> = consent::texts(conn, app, None)?
        .into_iter()
        .map(|text| json!({ "purpose": text.purpose, "version": text.version, "texts": text.texts }))
        .collect();
    let ledger = consent::ledgers(conn, app, &[user])?.remove(&user).unwrap_or_default();
    let partners: BTreeSet<PartnerId> = ledger.in_force(now_ms).iter().filter_map(|grant| grant.extent.partner).collect();
    let phones = device::list(conn, app, user, ("", 500))?;
    let gateways: BTreeSet<&str> = phones.iter().map(|phone| phone.traits.platform.name()).collect();
    let head = json!({
        "schema": SCHEMA,
        "generated_at": Time(now_ms),
        "controller": app::name(conn, app)?,
        "user_id": user,
        "purposes": purposes,
        "texts": shown,
        "recipients": {
            "push_services": gateways.iter().map(|platform| match *platform {
                "ios" => "Apple Push Notification service",
                "android" => "Firebase Cloud Messaging",
                _ => "the push service of your browser",
            }).collect::<Vec<_>>(),
            "partners": partners,
        },
        "retention_ms": {
            "positions": settings.location_retention_ms,
            "events": settings.event_retention_ms,
            "decisions_and_messages": settings.decision_retention_ms,
            "everything_else": "until you are erased",
        },
        "sources": "You and your devices; the app's own servers; partners and things where an event names them.",
        "automated_decisions": "Offers compete by rules that the app has set; each decision is listed with its reason.",
        "rights": [
            "to see this", "to have it corrected", "to have it erased", "to restrict or object to its use",
            "to take it elsewhere", "to withdraw each consent at any time", "to complain to a supervisory authority",
        ],
    });
    match head {
        Value::Object(head) => Ok(head),
        _ => Err(Error::broken("a head that is no object")),
    }
}

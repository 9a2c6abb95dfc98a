//! `/v1/me/consents/{id}/receipt` and the same for the app's server: the proof of one choice, in the shape of
//! ISO/IEC TS 27560, signed with the key of our tokens.

use super::record::{method_of, text_of};
use super::user_id;
use crate::app::{self, BackOffice, Scope, Settings};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::ProblemBody;
use crate::id::{AppId, ConsentId, PartnerId, UserId};
use crate::people::account::{Accounts, UserToken};
use crate::people::consent::{self, Basis, Channel, Declared, LOCATION, Record, Source, Text};
use crate::people::profile;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::web;
use serde::Serialize;
use std::collections::BTreeSet;

/// The `typ` of a receipt's signature, by which it is no access token.
const TYP: &str = "consent-receipt+jwt";
/// The shape that receipts have.
const SCHEMA: &str = "ISO/IEC TS 27560:2023";
/// What a person may ask for, whatever the purpose.
const RIGHTS: [&str; 7] = ["withdrawal", "access", "rectification", "erasure", "restriction", "portability", "complaint"];

/// A receipt and its signature.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConsentReceipt)]
pub struct ReceiptOut {
    receipt: Receipt,
    /// The same receipt as the claim `receipt` of a JWS in compact form, beside `iss` and `iat`; its header names the key
    /// in `/.well-known/jwks.json`, and `consent-receipt+jwt` as its `typ`.
    jws: String,
}

/// Header, processing, parties and events.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Receipt {
    schema_version: &'static str,
    record_id: ConsentId,
    pii_principal_id: UserId,
    processing: Processing,
    parties: Vec<Party>,
    /// What became of the choice, oldest first.
    events: Vec<ReceiptEvent>,
}

/// What is done, why, and on what basis.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Processing {
    #[serde(skip_serializing_if = "Option::is_none")]
    privacy_notice: Option<String>,
    /// The text that was shown, and proof of it.
    notice: Notice,
    /// The purpose's key, and its name for people.
    purpose: String,
    purpose_name: String,
    /// Purpose classes of the Data Privacy Vocabulary.
    purpose_type: Vec<String>,
    lawful_basis: Basis,
    pii_information: Vec<DataItem>,
    /// Who answers for it, by party.
    pii_controllers: Vec<String>,
    /// To whom else data go, by party.
    recipient_third_parties: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    collection_method: String,
    processing_method: &'static str,
    /// ISO 8601, where the app's settings say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_period: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jurisdiction: Option<String>,
    withdrawal_method: String,
    privacy_rights: [&'static str; 7],
}

/// The words that were shown.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Notice {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// SHA-256 of the text, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// A kind of personal data.
#[derive(Serialize, utoipa::ToSchema)]
pub struct DataItem {
    pii_type: String,
}

/// Somebody who takes part.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Party {
    party_id: String,
    party_type: &'static str,
    party_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    party_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    party_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    party_url: Option<String>,
}

/// What became of the choice.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ReceiptEvent {
    event_time: Time,
    /// `given`, `withdrawn` or `expired`.
    event_state: &'static str,
    event_type: &'static str,
    /// Who acted: `user`, `guardian`, `gpc`, `server:` and a key, or `time`.
    entity_id: String,
    /// ISO 8601, of a grant that ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    validity_duration: Option<String>,
}

/// All that a receipt is made of.
struct Facts {
    record: Record,
    withdrawn: Option<Record>,
    purpose: Declared,
    texts: Vec<Text>,
    partner: Option<(PartnerId, String)>,
    app: (AppId, String),
    settings: Settings,
}

fn facts(conn: &mut Conn, app: AppId, user: UserId, id: ConsentId) -> Result<Facts> {
    profile::person(conn, app, user)?;
    let record = consent::records(conn, app, user, &[id])?.pop().ok_or_else(|| Error::not_found("consent record"))?;
    let ledger = consent::ledgers(conn, app, &[user])?.remove(&user).unwrap_or_default();
    let end = ledger.end_of(id).map(|row| row.id).filter(|_| record.row.granted);
    let withdrawn = end.map(|end| consent::records(conn, app, user, &[end])).transpose()?.and_then(|mut found| found.pop());
    let key = &record.row.extent.purpose;
    let purpose = consent::declared(conn, app)?.into_iter().find(|purpose| purpose.key == *key);
    let partner = match record.row.extent.partner {
        Some(partner) => Some((partner, consent::partner_name(conn, app, partner)?.unwrap_or_default())),
        None => None,
    };
    Ok(Facts {
        purpose: purpose.ok_or_else(|| Error::broken("a record of no purpose"))?,
        texts: consent::texts(conn, app, Some(key))?,
        partner,
        app: (app, app::name(conn, app)?),
        settings: app::settings(conn, app)?,
        withdrawn,
        record,
    })
}

fn receipt(facts: &Facts, public_url: &str, now_ms: i64) -> Receipt {
    let Facts { record, purpose, settings, partner, .. } = facts;
    let controller = settings.controller.as_ref();
    let (app, app_name) = (facts.app.0.to_string(), facts.app.1.clone());
    let mut parties = vec![Party {
        party_id: app.clone(),
        party_type: "controller",
        party_name: controller.map_or(app_name, |c| c.name.clone()),
        party_address: controller.and_then(|c| c.address.clone()),
        party_email: controller.and_then(|c| c.email.clone()),
        party_url: controller.and_then(|c| c.url.clone()),
    }];
    parties.extend(partner.as_ref().map(|(id, name)| Party {
        party_id: id.to_string(),
        party_type: "third_party",
        party_name: name.clone(),
        party_address: None,
        party_email: None,
        party_url: None,
    }));
    let is_location = purpose.key == LOCATION;
    let key = &purpose.key;
    let processing = Processing {
        privacy_notice: controller.and_then(|c| c.privacy_notice_url.clone()),
        notice: Notice {
            version: record.row.text_version.clone(),
            language: record.shown.language.clone(),
            text: text_of(record, &facts.texts),
            sha256: record.shown.hash.clone(),
        },
        purpose: key.clone(),
        purpose_name: purpose.name.clone(),
        purpose_type: listed(&purpose.class.categories).map(|name| format!("https://w3id.org/dpv#{name}")).collect(),
        lawful_basis: if partner.is_some() { Basis::Consent } else { purpose.basis },
        pii_information: listed(&purpose.class.personal_data).map(|pii_type| DataItem { pii_type }).collect(),
        pii_controllers: vec![app],
        recipient_third_parties: partner.iter().map(|(id, _)| id.to_string()).collect(),
        channel: record.row.extent.channel,
        collection_method: method_of(record),
        processing_method: "automated",
        retention_period: is_location.then(|| duration(settings.location_retention_ms)),
        jurisdiction: record.shown.jurisdiction.clone(),
        withdrawal_method: format!("POST {public_url}/v1/me/consents {{\"purpose\": \"{key}\", \"granted\": false}}"),
        privacy_rights: RIGHTS,
    };
    Receipt {
        schema_version: SCHEMA,
        record_id: record.row.id,
        pii_principal_id: record.user,
        processing,
        parties,
        events: events(facts, now_ms),
    }
}

fn listed(names: &BTreeSet<String>) -> impl Iterator<Item = String> + '_ {
    names.iter().cloned()
}

/// The choice itself, and its end where it has come: by withdrawal or by time, whichever was first.
fn events(facts: &Facts, now_ms: i64) -> Vec<ReceiptEvent> {
    let event = |record: &Record, validity_ms: Option<i64>| ReceiptEvent {
        event_time: Time(record.at_ms),
        event_state: if record.row.granted { "given" } else { "withdrawn" },
        event_type: if record.source == Source::Gpc { "regular" } else { "explicit" },
        entity_id: if record.row.guardian { "guardian".to_owned() } else { record.source.to_string() },
        validity_duration: validity_ms.map(duration),
    };
    let record = &facts.record;
    let mut events = vec![event(record, record.row.expires_ms.map(|at_ms| at_ms - record.at_ms))];
    let expired = record.row.expires_ms.filter(|at_ms| *at_ms <= now_ms);
    match (&facts.withdrawn, expired) {
        (Some(gone), over) if over.is_none_or(|at_ms| gone.at_ms < at_ms) => events.push(event(gone, None)),
        (_, Some(at_ms)) => events.push(ReceiptEvent {
            event_time: Time(at_ms),
            event_state: "expired",
            event_type: "regular",
            entity_id: "time".to_owned(),
            validity_duration: None,
        }),
        (_, None) => {}
    }
    events
}

/// A span in ISO 8601: whole seconds, and milliseconds where there are any.
fn duration(span_ms: i64) -> String {
    let (seconds, ms) = (span_ms.div_euclid(1_000), span_ms.rem_euclid(1_000));
    if ms == 0 { format!("PT{seconds}S") } else { format!("PT{seconds}.{ms:03}S") }
}

/// What is signed: the receipt, who signs, and when. It names no subject, audience or expiry, as tokens do.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
    receipt: &'a Receipt,
}

async fn made(accounts: &Accounts, platform: &Platform, (app, user): (AppId, UserId), id: &str) -> Result<web::Json<ReceiptOut>> {
    let id: ConsentId = id.parse().map_err(|_| Error::not_found("consent record"))?;
    let facts = platform.store.read(move |conn| facts(conn, app, user, id)).await?;
    let (iss, now_ms) = (&platform.config.public_url, platform.clock.now_ms());
    let receipt = receipt(&facts, iss, now_ms);
    let jws = accounts.sign_document(TYP, &Claims { iss, iat: now_ms.div_euclid(1_000), receipt: &receipt })?;
    Ok(web::Json(ReceiptOut { receipt, jws }))
}

/// The receipt of one of one's own choices, as it stands now.
///
/// # Errors
/// 401, 404.
#[utoipa::path(get, path = "/v1/me/consents/{id}/receipt", tag = "me", params(("id" = ConsentId, Path)), security(("user_token" = [])),
    responses((status = 200, body = ReceiptOut), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(
    caller: UserToken,
    accounts: web::Data<Accounts>,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> Result<web::Json<ReceiptOut>> {
    made(&accounts, &platform, (caller.app_id, caller.user_id), &path).await
}

/// The receipt of one of a user's choices, as it stands now.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/consents/{consent_id}/receipt", tag = "users",
    params(("id" = String, Path), ("consent_id" = ConsentId, Path)), security(("server_key" = [])),
    responses((status = 200, body = ReceiptOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody),
        (status = 404, body = ProblemBody)))]
pub async fn read_of_user(
    caller: BackOffice,
    accounts: web::Data<Accounts>,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<web::Json<ReceiptOut>> {
    caller.need(Scope::UsersRead)?;
    let (user, id) = path.into_inner();
    made(&accounts, &platform, (caller.app_id, user_id(&user)?), &id).await
}

//! `/v1/me/consents` and `/v1/users/{id}/consents`: what stands, the whole history, granting and withdrawing.

use super::record::{ConsentOut, text_of};
use super::{rows_of, user_id};
use crate::app::{BackOffice, Scope, settings};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, FreeJson, Page, PageQuery, ProblemBody, Query, check_text};
use crate::id::{AppId, ConsentId, PartnerId, UserId};
use crate::people::account::UserToken;
use crate::people::consent::{self, Basis, Channel, Choice, Extent, Local, Need, Reason, Record, Source, Standing};
use crate::people::profile;
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most bytes of evidence, as JSON.
const EVIDENCE_LIMIT_BYTES: usize = 4096;

/// A grant or a withdrawal.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsentIn {
    /// The purpose's key.
    purpose: String,
    /// Granted, or withdrawn.
    granted: bool,
    /// One partner. A grant without one covers no partner, a withdrawal without one ends all.
    partner: Option<PartnerId>,
    /// One channel; left out for all.
    channel: Option<Channel>,
    /// Which text was shown: the current one. Required to grant.
    text_version: Option<String>,
    /// What was shown, where, in which language (`locale`), by which app version (`app_version`), how (`method`); up to
    /// 4 kB. Required to grant.
    evidence: Option<FreeJson>,
    /// The jurisdiction under which it is made: a country (`DE`) or a part of one (`US-CA`); left out for the app's.
    jurisdiction: Option<String>,
    /// Whether a guardian made it for somebody who is not of age; only the app's server can say so.
    #[serde(default)]
    guardian: bool,
}

/// The record, from when it holds, and what it ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ConsentRecorded)]
pub struct RecordedOut {
    #[serde(flatten)]
    record: ConsentOut,
    /// No decision and no hand-over to a gateway that this withdrawal forbids starts at or after this time.
    effective_at: Time,
    /// The grants that this withdrawal ended in whole.
    ended: Vec<ConsentOut>,
}

/// How things stand.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StandingWord {
    /// The user granted it.
    Granted,
    /// The purpose rests on the contract.
    NotNeeded,
    /// It may not be done.
    Refused,
}

/// One purpose: its text, how the app's own pushes stand with it, and the grants in force.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ConsentState {
    purpose: String,
    /// For people.
    name: String,
    basis: Basis,
    /// The text to show before granting.
    text_version: String,
    /// That text by locale, in the app's jurisdiction.
    texts: BTreeMap<String, String>,
    /// What differs in other jurisdictions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    jurisdictions: BTreeMap<String, Local>,
    /// How long a grant for it counts in the app's jurisdiction, in milliseconds; absent: until it is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_ms: Option<i64>,
    /// Purpose classes of the Data Privacy Vocabulary.
    categories: BTreeSet<String>,
    /// Whether it sells personal data or shares them with others.
    sale_or_share: bool,
    /// How the app's own pushes stand with it; partners stand on their own grants.
    standing: StandingWord,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The grants in force, those for partners and channels included.
    grants: Vec<ConsentOut>,
}

struct Found {
    declared: Vec<consent::Declared>,
    texts: HashMap<String, consent::Text>,
    purposes: consent::Purposes,
    ledger: consent::Ledger,
    grants: Vec<Record>,
    jurisdiction: Option<String>,
}

async fn state(platform: &Platform, app: AppId, user: UserId, page: PageQuery) -> Result<web::Json<Page<ConsentState>>> {
    page.rows()?;
    let now_ms = platform.clock.now_ms();
    let found = platform.store.read(move |conn| {
        profile::person(conn, app, user)?;
        let ledger = consent::ledgers(conn, app, &[user])?.remove(&user).unwrap_or_default();
        let standing: Vec<ConsentId> = ledger.in_force(now_ms).iter().map(|row| row.id).collect();
        // Oldest first, so that the current text of each purpose stays.
        let texts = consent::texts(conn, app, None)?.into_iter().map(|text| (text.purpose.clone(), text)).collect();
        Ok(Found {
            declared: consent::declared(conn, app)?,
            texts,
            purposes: consent::purposes(conn, app)?,
            grants: consent::records(conn, app, user, &standing)?,
            ledger,
            jurisdiction: settings(conn, app)?.jurisdiction,
        })
    });
    let Found { declared, mut texts, purposes, ledger, grants, jurisdiction } = found.await?;
    let rows = rows_of(&page, declared, |purpose| purpose.key.clone())?;
    let item = |purpose: consent::Declared| {
        let (standing, reason) = match ledger.standing(&purposes, &Need::of(purpose.key.as_str()), now_ms) {
            Standing::Granted(_) => (StandingWord::Granted, None),
            Standing::NotNeeded => (StandingWord::NotNeeded, None),
            Standing::Refused(reason) => (StandingWord::Refused, Some(reason)),
        };
        (purpose, standing, reason)
    };
    let states = page.page(rows, |purpose| purpose.key.clone(), item)?;
    let items = states.items.into_iter().map(|(purpose, standing, reason)| {
        let (text, code) = (texts.remove(&purpose.key), jurisdiction.as_deref());
        let of_purpose = grants.iter().filter(|g| g.row.extent.purpose == purpose.key);
        ConsentState {
            text_version: text.as_ref().map(|t| t.version.clone()).unwrap_or_default(),
            texts: text.as_ref().map(|t| t.texts_in(code).clone()).unwrap_or_default(),
            valid_ms: text.as_ref().and_then(|t| t.valid_ms_in(code)),
            jurisdictions: text.map(|t| t.jurisdictions).unwrap_or_default(),
            categories: purpose.class.categories,
            sale_or_share: purpose.class.sale_or_share,
            grants: of_purpose.cloned().map(ConsentOut::from).collect(),
            purpose: purpose.key,
            name: purpose.name,
            basis: purpose.basis,
            standing,
            reason,
        }
    });
    Ok(web::Json(Page { items: items.collect(), next_cursor: states.next_cursor }))
}

async fn past(platform: &Platform, app: AppId, user: UserId, page: PageQuery) -> Result<web::Json<Page<ConsentOut>>> {
    let limit = page.rows()?;
    let after = match page.cursor.as_deref() {
        None => 0,
        Some(text) => {
            text.parse().map_err(|_| Error::invalid("cursor", "invalid", "expected the next_cursor of the page before"))?
        }
    };
    let rows = platform.store.read(move |conn| {
        profile::person(conn, app, user)?;
        Ok((consent::history(conn, app, user, (after, limit))?, consent::texts(conn, app, None)?))
    });
    let (rows, texts) = rows.await?;
    let item = |(_, record): (i64, Record)| {
        let text = text_of(&record, &texts);
        let mut out = ConsentOut::from(record);
        out.text = text;
        out
    };
    Ok(web::Json(page.page(rows, |(seq, _)| seq.to_string(), item)?))
}

async fn choose(platform: &Platform, app: AppId, who: (UserId, Source), body: ConsentIn) -> Result<HttpResponse> {
    let (user, source) = who;
    let evidence = body.evidence.unwrap_or_default();
    if serde_json::to_string(&evidence).map_or(usize::MAX, |text| text.len()) > EVIDENCE_LIMIT_BYTES {
        return Err(Error::invalid("evidence", "too_long", format!("may have at most {EVIDENCE_LIMIT_BYTES} bytes as JSON")));
    }
    if let Some(version) = &body.text_version {
        check_text("text_version", version, 64)?;
    }
    let granted = body.granted;
    let extent = Extent { purpose: body.purpose, channel: body.channel, partner: body.partner };
    let choice = Choice {
        user,
        id: platform.ids.next(),
        extent,
        granted,
        text_version: body.text_version,
        jurisdiction: body.jurisdiction,
        guardian: body.guardian,
        evidence,
        source,
        at_ms: platform.clock.now_ms(),
    };
    let write = move |conn: &mut Conn| {
        profile::person(conn, app, user)?;
        let done = consent::record(conn, app, choice)?;
        Ok((done, Whose::Users(if granted { Vec::new() } else { vec![user] })))
    };
    let done = platform.write_and_fence(app, write, |_| ()).await?;
    // The new epoch is on disk: what was in flight has let go or is gone, and nothing new starts.
    let effective_ms = if granted { done.record.at_ms } else { platform.clock.now_ms() };
    let mut response = if done.new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(RecordedOut {
        record: done.record.into(),
        effective_at: Time(effective_ms),
        ended: done.ended.into_iter().map(ConsentOut::from).collect(),
    }))
}

/// Shows every purpose with its text and how one stands with it.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/consents", tag = "me", params(PageQuery), security(("user_token" = [])),
    responses((status = 200, body = Page<ConsentState>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn read(
    caller: UserToken,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<ConsentState>>> {
    state(&platform, caller.app_id, caller.user_id, page.0).await
}

/// Shows the whole ledger of one's grants and withdrawals, oldest first.
///
/// # Errors
/// 400, 401.
#[utoipa::path(get, path = "/v1/me/consents/history", tag = "me", params(PageQuery), security(("user_token" = [])),
    responses((status = 200, body = Page<ConsentOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn history(
    caller: UserToken,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<ConsentOut>>> {
    past(&platform, caller.app_id, caller.user_id, page.0).await
}

/// Grants or withdraws. Repeating the last choice of a purpose answers 200 with the record that says so already; a grant
/// that ends by itself is renewed by repeating it.
///
/// # Errors
/// 400, 401, 403 `age_gate`.
#[utoipa::path(post, path = "/v1/me/consents", tag = "me", request_body = ConsentIn, security(("user_token" = [])),
    responses((status = 200, body = RecordedOut), (status = 201, body = RecordedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody)))]
pub async fn record(caller: UserToken, platform: web::Data<Platform>, body: Body<ConsentIn>) -> Result<HttpResponse> {
    choose(&platform, caller.app_id, (caller.user_id, Source::User), body.0).await
}

/// Shows every purpose with its text and how a user stands with it.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/consents", tag = "users", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<ConsentState>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read_of_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<ConsentState>>> {
    caller.need(Scope::UsersRead)?;
    state(&platform, caller.app_id, user_id(&path)?, page.0).await
}

/// Shows the whole ledger of a user, oldest first.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/consents/history", tag = "users", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<ConsentOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn history_of_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<ConsentOut>>> {
    caller.need(Scope::UsersRead)?;
    past(&platform, caller.app_id, user_id(&path)?, page.0).await
}

/// Records a user's choice made elsewhere: support, or import. A grant may name any text version that was published;
/// whether it still counts is for the law to say. Against a user's Global Privacy Control only the user can grant.
///
/// # Errors
/// 400, 401, 403, 404, 409 `gpc`.
#[utoipa::path(post, path = "/v1/users/{id}/consents", tag = "users", params(("id" = String, Path)), request_body = ConsentIn, security(("server_key" = [])),
    responses((status = 200, body = RecordedOut), (status = 201, body = RecordedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn record_for_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<ConsentIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    choose(&platform, caller.app_id, (user_id(&path)?, caller.who.into()), body.0).await
}

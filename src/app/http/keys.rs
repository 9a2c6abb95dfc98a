//! `/v1/keys`: the app's own publishable and server keys.

use crate::app::caller::BackOffice;
use crate::app::key::{Key, KeyKind, Mint, Mode, NAME_MAX, NewKey};
use crate::app::keys::KEYS_TOPIC;
use crate::app::scope::{Scope, Scopes};
use crate::app::store;
use crate::audit;
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, given};
use crate::id::{KeyId, PartnerId};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// How long a rotated key lives on when the caller names no span, in milliseconds.
const OVERLAP_MS: i64 = DAY_MS;
/// Longest overlap, in milliseconds.
const OVERLAP_MAX_MS: i64 = 30 * DAY_MS;

/// What is known of a key; its text was shown when it was made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Key)]
pub struct KeyOut {
    id: KeyId,
    kind: KeyKind,
    mode: Mode,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_id: Option<PartnerId>,
    scopes: Scopes,
    /// The beginning of the key, to tell keys apart.
    prefix: String,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
    /// To the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Time>,
}

/// A new key with its text, which is never shown again.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = NewKey)]
pub struct NewKeyOut {
    #[serde(flatten)]
    key: KeyOut,
    /// The key itself: keep it now.
    secret: String,
}

impl From<Key> for KeyOut {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            kind: key.kind,
            mode: key.mode,
            name: key.name,
            partner_id: key.partner_id,
            scopes: key.scopes,
            prefix: key.prefix,
            created_at: Time(key.created_ms),
            expires_at: key.expires_ms.map(Time),
            last_used_at: key.last_used_ms.map(Time),
            revoked_at: key.revoked_ms.map(Time),
        }
    }
}

impl From<NewKey> for NewKeyOut {
    fn from(new: NewKey) -> Self {
        Self { secret: new.secret.expose().to_owned(), key: new.key.into() }
    }
}

/// Which of the app's own kinds of key to make; partners' keys are made under the partner.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OwnKeyKind {
    /// For the app on the phone.
    Publishable,
    /// For the app's own servers.
    Server,
}

/// The key to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyIn {
    kind: OwnKeyKind,
    /// `live` when left out, `test` when a test key calls.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    mode: Option<Mode>,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What a server key may do: no more than the calling key. A publishable key has none.
    #[serde(default)]
    scopes: Scopes,
    /// No later than the calling key's own end.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    expires_at: Option<Time>,
}

/// How to rotate.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateIn {
    /// How long the old key lives on, in milliseconds, up to 30 days; one day when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 2592000000_i64)]
    overlap_ms: Option<i64>,
}

/// Makes a key. Its text is in this answer only.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(post, path = "/v1/keys", tag = "app", request_body = KeyIn, security(("server_key" = [])),
    responses((status = 201, body = NewKeyOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<KeyIn>) -> Result<HttpResponse> {
    caller.need(Scope::KeysWrite)?;
    let now_ms = platform.clock.now_ms();
    let wanted = wanted(&caller, body.0, now_ms)?;
    caller.may_mint(&wanted)?;
    let ids = platform.ids.clone();
    let new =
        platform.store.write(move |conn| store::mint(conn, &ids, now_ms, wanted).inspect(|new| audit::made(new.key.id))).await?;
    Ok(HttpResponse::Created().json(NewKeyOut::from(new)))
}

fn wanted(caller: &BackOffice, body: KeyIn, now_ms: i64) -> Result<Mint> {
    check_text("name", &body.name, NAME_MAX)?;
    let kind = match body.kind {
        OwnKeyKind::Publishable if !body.scopes.is_empty() => {
            return Err(Error::invalid("scopes", "invalid", "a publishable key has no scopes"));
        }
        OwnKeyKind::Publishable => KeyKind::Publishable,
        OwnKeyKind::Server if body.scopes.is_empty() => {
            return Err(Error::invalid("scopes", "required", "a server key needs at least one scope"));
        }
        OwnKeyKind::Server => KeyKind::Server,
    };
    if body.expires_at.is_some_and(|at| at.0 <= now_ms) {
        return Err(Error::invalid("expires_at", "out_of_range", "must lie in the future"));
    }
    Ok(Mint {
        app_id: caller.app_id,
        kind,
        mode: body.mode.unwrap_or(caller.mode),
        name: body.name,
        partner_id: None,
        scopes: body.scopes,
        expires_ms: body.expires_at.map(|at| at.0),
    })
}

/// Lists the app's own keys, revoked and expired ones included.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/keys", tag = "app", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<KeyOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(caller: BackOffice, platform: web::Data<Platform>, page: Query<PageQuery>) -> Result<web::Json<Page<KeyOut>>> {
    caller.need(Scope::KeysRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let keys = platform.store.read(move |conn| store::own_keys(conn, caller.app_id, &after, rows)).await?;
    Ok(web::Json(page.0.page(keys, |key| key.id.to_string(), KeyOut::from)?))
}

/// Revokes a key: from this answer on it is refused.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "app", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn revoke(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::KeysWrite)?;
    let id = parse(&path)?;
    let now_ms = platform.clock.now_ms();
    let revoked = platform.write_and_tell((KEYS_TOPIC, String::new()), move |conn| {
        own(store::key(conn, caller.app_id, id)?)?;
        store::revoke(conn, caller.app_id, id, now_ms)
    });
    revoked.await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes a successor with the same rights; the old key lives on for the overlap.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", tag = "app", params(("id" = String, Path)), request_body = RotateIn, security(("server_key" = [])),
    responses((status = 201, body = NewKeyOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn rotate(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<RotateIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::KeysWrite)?;
    let id = parse(&path)?;
    let overlap_ms = body.0.overlap_ms.unwrap_or(OVERLAP_MS);
    if !(0..=OVERLAP_MAX_MS).contains(&overlap_ms) {
        return Err(Error::invalid("overlap_ms", "out_of_range", format!("must be 0 to {OVERLAP_MAX_MS}")));
    }
    let (ids, now_ms) = (platform.ids.clone(), platform.clock.now_ms());
    let new = platform.write_and_tell((KEYS_TOPIC, String::new()), move |conn| {
        let old = own(store::key_held(conn, caller.app_id, id)?)?;
        // The successor's text goes to the caller, so rotating is minting.
        caller.may_mint(&old.mint())?;
        store::rotate(conn, &ids, now_ms, (&old, overlap_ms)).inspect(|new| audit::made(new.key.id))
    });
    Ok(HttpResponse::Created().json(NewKeyOut::from(new.await?)))
}

fn parse(id: &str) -> Result<KeyId> {
    id.parse().map_err(|_| Error::not_found("key"))
}

/// Partners' keys are out of sight here.
fn own(key: Key) -> Result<Key> {
    match key.kind {
        KeyKind::Publishable | KeyKind::Server => Ok(key),
        KeyKind::Partner => Err(Error::not_found("key")),
    }
}

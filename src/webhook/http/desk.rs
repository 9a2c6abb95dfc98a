//! What each route does, for endpoints of any owner.

use super::{
    DeliveryOut, DeliveryQuery, ReplayIn, ReplayOut, RotateIn, TestOut, WebhookIn, WebhookOut, WebhookPatch, WebhookSecretOut,
    check_description, check_event_types,
};
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Result};
use crate::http::{Page, PageQuery};
use crate::id::{DeliveryId, WebhookId};
use crate::outbound::guarded::Failure;
use crate::platform::Platform;
use crate::store::Doc;
use crate::webhook::message::{context, outgoing, send};
use crate::webhook::results::hears_results;
use crate::webhook::sign::{KEY_BYTES, Key};
use crate::webhook::store::{self, Endpoint};
use crate::webhook::{Body, Owner};
use actix_web::{HttpResponse, web};
use serde_json::json;

/// How long an old secret signs on when the caller names no span, and at most, in milliseconds.
const OVERLAP_MS: i64 = DAY_MS;
const OVERLAP_MAX_MS: i64 = 7 * DAY_MS;

/// Reads a webhook's id in a URL; what is none is the same 404 as an unknown one.
///
/// # Errors
/// 404.
pub fn webhook_id(path: &str) -> Result<WebhookId> {
    path.parse().map_err(|_| Error::not_found("webhook"))
}

/// Refuses a URL that may not be called.
async fn check_url(platform: &Platform, url: &str) -> Result<()> {
    match platform.web.vet(url).await {
        Ok(()) => Ok(()),
        Err(Failure::Url(why)) => Err(Error::invalid("url", "invalid", why)),
        Err(_) => {
            let why =
                "leads to an address or port that may not be called: https on port 443 or from 1024 on, at public addresses";
            Err(Error::invalid("url", "forbidden_address", why))
        }
    }
}

/// A new key: sealed for the database, and the text to show once.
fn new_key(platform: &Platform, owner: Owner, id: WebhookId) -> Result<(Vec<u8>, String)> {
    let bytes = platform.ids.bytes::<KEY_BYTES>();
    let sealed = platform.master_key.seal(&platform.ids, &context(owner.app, id), &bytes)?;
    let key = Key::new(&bytes).ok_or_else(|| Error::broken("a new key has a wrong length"))?;
    Ok((sealed, key.text().expose().to_owned()))
}

/// Adds an endpoint.
///
/// # Errors
/// 400 that names the field, 409.
pub async fn create(platform: &Platform, owner: Owner, body: WebhookIn) -> Result<HttpResponse> {
    check_description(&body.description)?;
    check_event_types(&body.event_types)?;
    check_url(platform, &body.url).await?;
    let (id, now_ms) = (platform.ids.next(), platform.clock.now_ms());
    let (sealed, secret) = new_key(platform, owner, id)?;
    let endpoint = Endpoint {
        app_id: owner.app,
        id,
        partner_id: store::word(owner),
        url: body.url,
        description: body.description,
        results: owner.partner.is_none() && hears_results(&body.event_types),
        event_types: Doc(body.event_types),
        enabled: true,
        disabled_reason: None,
        disabled_ms: None,
        secret: sealed,
        secret_ms: now_ms,
        old_secret: None,
        old_secret_until_ms: None,
        failing_since_ms: None,
        throttled_until_ms: None,
        created_ms: now_ms,
        updated_ms: now_ms,
    };
    let made = endpoint.clone();
    platform.store.write(move |conn| store::insert(conn, &made)).await?;
    Ok(HttpResponse::Created().json(WebhookSecretOut { webhook: WebhookOut::of(endpoint, now_ms), secret }))
}

/// Lists endpoints.
///
/// # Errors
/// 400.
pub async fn list(platform: &Platform, owner: Owner, page: PageQuery) -> Result<web::Json<Page<WebhookOut>>> {
    let (rows, after, now_ms) = (page.rows()?, page.after().to_owned(), platform.clock.now_ms());
    let found = platform.store.read(move |conn| store::page(conn, owner, (&after, rows))).await?;
    Ok(web::Json(page.page(found, |endpoint| endpoint.id.to_string(), |endpoint| WebhookOut::of(endpoint, now_ms))?))
}

/// Shows an endpoint.
///
/// # Errors
/// 404.
pub async fn read(platform: &Platform, owner: Owner, id: WebhookId) -> Result<web::Json<WebhookOut>> {
    let endpoint = platform.store.read(move |conn| store::find(conn, owner, id)).await?;
    Ok(web::Json(WebhookOut::of(endpoint, platform.clock.now_ms())))
}

/// Changes an endpoint.
///
/// # Errors
/// 400 that names the field, 404.
pub async fn patch(platform: &Platform, owner: Owner, (id, patch): (WebhookId, WebhookPatch)) -> Result<web::Json<WebhookOut>> {
    patch.description.as_deref().map_or(Ok(()), check_description)?;
    patch.event_types.as_deref().map_or(Ok(()), check_event_types)?;
    // Looked for first, so that a stranger does not make this server look names up.
    platform.store.read(move |conn| store::find(conn, owner, id)).await?;
    if let Some(url) = &patch.url {
        check_url(platform, url).await?;
    }
    let now_ms = platform.clock.now_ms();
    let changed = platform.store.write(move |conn| {
        store::lock(conn, id)?;
        let mut endpoint = store::find(conn, owner, id)?;
        if let Some(url) = patch.url {
            endpoint.url = url;
            endpoint.forgive();
        }
        if let Some(description) = patch.description {
            endpoint.description = description;
        }
        if let Some(event_types) = patch.event_types {
            endpoint.results = owner.partner.is_none() && hears_results(&event_types);
            endpoint.event_types = Doc(event_types);
        }
        endpoint.updated_ms = now_ms;
        match patch.enabled {
            Some(true) if !endpoint.enabled => {
                (endpoint.enabled, endpoint.disabled_reason, endpoint.disabled_ms) = (true, None, None);
                endpoint.forgive();
            }
            Some(false) if endpoint.enabled => {
                endpoint.switch_off("by_owner", now_ms);
                store::give_up(conn, (owner.app, id), now_ms)?;
            }
            Some(_) | None => {}
        }
        store::update(conn, &endpoint)?;
        Ok(endpoint)
    });
    Ok(web::Json(WebhookOut::of(changed.await?, now_ms)))
}

/// Deletes an endpoint and all that was to go there.
///
/// # Errors
/// 404.
pub async fn delete(platform: &Platform, owner: Owner, id: WebhookId) -> Result<HttpResponse> {
    let deleted = platform.store.write(move |conn| {
        store::lock(conn, id)?;
        store::find(conn, owner, id)?;
        store::delete(conn, owner.app, id)
    });
    deleted.await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes a new secret; the old one signs on for a while, or not.
///
/// # Errors
/// 400 that names the field, 404.
pub async fn rotate(platform: &Platform, owner: Owner, (id, body): (WebhookId, RotateIn)) -> Result<web::Json<WebhookSecretOut>> {
    let overlap_ms = body.overlap_ms.unwrap_or(OVERLAP_MS);
    if !(0..=OVERLAP_MAX_MS).contains(&overlap_ms) {
        return Err(Error::invalid("overlap_ms", "out_of_range", format!("must be 0 to {OVERLAP_MAX_MS} milliseconds")));
    }
    let now_ms = platform.clock.now_ms();
    let (sealed, secret) = new_key(platform, owner, id)?;
    let rotated = platform.store.write(move |conn| {
        store::lock(conn, id)?;
        let mut endpoint = store::find(conn, owner, id)?;
        let old = std::mem::replace(&mut endpoint.secret, sealed);
        endpoint.old_secret = (overlap_ms > 0).then_some(old);
        endpoint.old_secret_until_ms = (overlap_ms > 0).then_some(now_ms + overlap_ms);
        (endpoint.secret_ms, endpoint.updated_ms) = (now_ms, now_ms);
        store::update(conn, &endpoint)?;
        Ok(endpoint)
    });
    Ok(web::Json(WebhookSecretOut { webhook: WebhookOut::of(rotated.await?, now_ms), secret }))
}

/// Sends a `webhook.test` now, also to a disabled endpoint. It is not repeated and not listed.
///
/// # Errors
/// 404.
pub async fn test(platform: &Platform, owner: Owner, id: WebhookId) -> Result<web::Json<TestOut>> {
    let endpoint = platform.store.read(move |conn| store::find(conn, owner, id)).await?;
    let (message, now_ms): (DeliveryId, i64) = (platform.ids.next(), platform.clock.now_ms());
    let body = Body { kind: "webhook.test", timestamp: Time(now_ms), data: &json!({ "webhook": id }) };
    let body = serde_json::to_string(&body).map_err(Error::broken)?;
    let (heard, duration_ms) = send(platform, outgoing(platform, &endpoint, (&message.to_string(), &body), None)?).await;
    let failure = heard.failure().map(str::to_owned);
    Ok(web::Json(TestOut { id: message, delivered: failure.is_none(), status: heard.status, duration_ms, failure }))
}

/// Lists deliveries, the newest first.
///
/// # Errors
/// 400, 404.
pub async fn deliveries(
    platform: &Platform,
    owner: Owner,
    (id, query): (WebhookId, DeliveryQuery),
) -> Result<web::Json<Page<DeliveryOut>>> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (rows, before, state) = (page.rows()?, page.after().to_owned(), query.state.map(super::DeliveryState::word));
    let found = platform.store.read(move |conn| {
        store::find(conn, owner, id)?;
        store::list(conn, (owner.app, id), state, (&before, rows))
    });
    Ok(web::Json(page.page(found.await?, |delivery| delivery.id.to_string(), DeliveryOut::from)?))
}

/// Refuses to send to an endpoint that is switched off.
fn check_enabled(endpoint: &Endpoint) -> Result<()> {
    if endpoint.enabled { Ok(()) } else { Err(Error::conflict("webhook_disabled", "This webhook is disabled; enable it first.")) }
}

/// Sends one delivery again, under its own id, now and on a new schedule.
///
/// # Errors
/// 404, 409.
pub async fn replay_one(platform: &Platform, owner: Owner, (id, delivery): (WebhookId, &str)) -> Result<HttpResponse> {
    let delivery: DeliveryId = delivery.parse().map_err(|_| Error::not_found("delivery"))?;
    let now_ms = platform.clock.now_ms();
    let replayed = platform.store.write(move |conn| {
        store::lock(conn, id)?;
        let endpoint = store::find(conn, owner, id)?;
        let replayed = store::replay(conn, (owner.app, id), delivery, now_ms)?;
        check_enabled(&endpoint)?;
        Ok(replayed)
    });
    Ok(HttpResponse::Accepted().json(DeliveryOut::from(replayed.await?)))
}

/// Sends again all that failed since a time, each under its own id.
///
/// # Errors
/// 404, 409.
pub async fn replay_since(platform: &Platform, owner: Owner, (id, body): (WebhookId, ReplayIn)) -> Result<HttpResponse> {
    let now_ms = platform.clock.now_ms();
    let replayed = platform.store.write(move |conn| {
        store::lock(conn, id)?;
        check_enabled(&store::find(conn, owner, id)?)?;
        store::replay_since(conn, (owner.app, id), (body.since.0, now_ms))
    });
    Ok(HttpResponse::Accepted().json(ReplayOut { replayed: replayed.await? }))
}

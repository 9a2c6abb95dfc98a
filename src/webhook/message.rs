//! One signed message: made ready for an endpoint, sent, and what was heard.

use super::fill;
use super::schedule::Heard;
use super::sign::{Key, signature};
use super::store::Endpoint;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId, WebhookId};
use crate::outbound::guarded::{Failure, Outgoing};
use crate::outbound::retry_after_ms;
use crate::platform::Platform;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use std::time::Duration;
use tokio::time::Instant;

/// How much of an endpoint's answer is read, and not looked at.
const ANSWER_LIMIT_BYTES: usize = 16 << 10;

/// Ties a sealed secret to its row.
pub(super) fn context(app: AppId, id: WebhookId) -> String {
    format!("webhooks {app} {id}")
}

/// The request that brings a body to an endpoint, signed now with every key in force.
pub(super) fn outgoing(
    platform: &Platform,
    endpoint: &Endpoint,
    (id, body): (&str, &str),
    user: Option<UserId>,
) -> Result<Outgoing> {
    let now_ms = platform.clock.now_ms();
    let old = endpoint.old_secret.as_ref().filter(|_| endpoint.old_secret_until_ms.is_some_and(|until_ms| now_ms < until_ms));
    let context = context(endpoint.app_id, endpoint.id);
    let open = |sealed: &Vec<u8>| {
        let bytes = platform.master_key.open(&context, sealed)?;
        Key::new(&bytes).ok_or_else(|| Error::broken("a webhook's secret has a wrong length"))
    };
    let keys = [Some(&endpoint.secret), old].into_iter().flatten().map(open).collect::<Result<Vec<_>>>()?;
    let body = match (endpoint.partner_id.parse(), user) {
        (Ok(partner), Some(user)) => fill(&platform.master_key, endpoint.app_id, (partner, user), body),
        (Ok(_) | Err(_), _) => body.to_owned(),
    };
    let timestamp_s = now_ms.div_euclid(1_000);
    let value = |text: String| HeaderValue::try_from(text).map_err(Error::broken);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", value(id.to_owned())?);
    headers.insert("webhook-timestamp", value(timestamp_s.to_string())?);
    headers.insert("webhook-signature", value(signature(&keys, (id, timestamp_s), &body))?);
    Ok(Outgoing {
        method: Method::POST,
        url: endpoint.url.clone(),
        headers,
        body: body.into(),
        timeout: Duration::from_millis(platform.config.webhook_timeout_ms),
        body_max: ANSWER_LIMIT_BYTES,
    })
}

/// Sends it; answers what was heard and how long that took, in milliseconds of the machine.
pub(super) async fn send(platform: &Platform, outgoing: Outgoing) -> (Heard, i64) {
    let begun = Instant::now();
    let sent = platform.web.send(outgoing).await;
    let duration_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    let heard = match sent {
        Ok(answer) => {
            let asked_ms = retry_after_ms(&answer.headers, platform.clock.now_ms());
            Heard { status: Some(answer.status.as_u16()), failure: None, asked_ms }
        }
        Err(Failure::Cut(status)) => Heard { status: Some(status.as_u16()), failure: None, asked_ms: None },
        Err(failure) => Heard { status: None, failure: Some(failure.word()), asked_ms: None },
    };
    (heard, duration_ms)
}

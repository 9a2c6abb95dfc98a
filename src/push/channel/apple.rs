//! What Apple is told of channels, and what its answers mean: requests, and a total table of reasons.

use super::broadcast::Broadcast;
use super::store::Channel;
use crate::error::{Error, Problem};
use crate::outbound::{Answer, Loss, Outgoing, retry_after_ms};
use crate::people::device::Environment;
use crate::push::apns;
use crate::push::lane::Lane;
use crate::push::verdict::{Reason, Verdict, word};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::time::Duration;
use uuid::Uuid;

const CHANNEL_ID: HeaderName = HeaderName::from_static("apns-channel-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("apns-request-id");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");

/// The reasons that Apple gives for channels and broadcasts alone; the others are those of any push.
const OWN: [(&str, Meaning); 9] = [
    ("BadChannelId", Meaning::Gone),
    ("ChannelNotRegistered", Meaning::Gone),
    ("MissingChannelId", Meaning::Ours),
    ("MissingPushType", Meaning::Ours),
    ("BadRequestParams", Meaning::Ours),
    ("BadRequestPayload", Meaning::Ours),
    ("TopicMismatch", Meaning::App),
    ("FeatureNotEnabled", Meaning::App),
    ("CannotCreateChannelConfig", Meaning::App),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// There is no such channel.
    Gone,
    /// The request is wrong.
    Ours,
    /// Something is not set up at Apple: no other push of this app fares worse for it.
    App,
}

/// What an answer to a broadcast means.
pub(super) fn judge(answer: &Answer, now_ms: i64) -> Verdict {
    match verdict(answer.status.as_u16(), &apns::reason(answer)) {
        Verdict::Later { reason, .. } => Verdict::Later { reason, after_ms: retry_after_ms(&answer.headers, now_ms) },
        other => other,
    }
}

/// The table for broadcasts.
pub fn verdict(status: u16, text: &str) -> Verdict {
    if OWN.iter().any(|(own, _)| *own == text) {
        return Verdict::Rejected(word(text).into());
    }
    match apns::verdict(status, text) {
        // There is no token in a broadcast that could be dead.
        Verdict::Unregistered { .. } => Verdict::Rejected(word(text).into()),
        // A word that no push was ever refused with is about channels: it proves nothing against the key.
        Verdict::Misconfigured(reason) if apns::Reason::parse(text).is_none() => Verdict::Rejected(reason),
        other => other,
    }
}

/// What an answer to a request about channels means.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// Done; a new channel has Apple's name for it.
    Done(Option<String>),
    /// There is no such channel.
    Gone,
    /// It was not done.
    Refused(Refusal),
}

/// Why a request about channels was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Apple keeps as many channels as it allows.
    TooMany,
    /// The app's credential, or what is set up at Apple, does not allow it.
    NotAllowed(Reason),
    /// Apple takes the request for wrong.
    Wrong(Reason),
    /// Not now.
    Later(Reason),
    /// Nobody knows whether it was done.
    Unknown(&'static str),
}

impl Refusal {
    /// The refusal as the caller gets it.
    pub(super) fn error(&self) -> Error {
        let of = |status, code, detail: String, retry_after_s| {
            Error::from(Problem { retry_after_s, ..Problem::new(status, code, detail) })
        };
        match self {
            Self::TooMany => {
                of(409, "too_many_channels", "Apple keeps 10000 channels at most; delete those that are over.".to_owned(), None)
            }
            Self::NotAllowed(reason) => {
                let detail = format!(
                    "Apple does not allow it ({reason}): the app's APNs key must be good for this bundle id and environment, \
                     and the broadcast capability be enabled for the bundle id."
                );
                of(409, "refused_by_apple", detail, None)
            }
            Self::Wrong(reason) => of(409, "refused_by_apple", format!("Apple refused the request: {reason}."), None),
            Self::Later(reason) => {
                of(503, "gateway_unavailable", format!("Apple cannot do it now ({reason}). Try again later."), Some(30))
            }
            Self::Unknown(reason) => {
                let detail = format!("Apple did not answer ({reason}): nobody knows whether it was done. Try again.");
                of(503, "gateway_unavailable", detail, Some(5))
            }
        }
    }
}

/// What to ask of Apple's host for channels.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Make one.
    Create,
    /// Delete the one of this name.
    Delete(&'a str),
}

/// Asks Apple's host for channels, once more over when our own token was too old.
pub(super) async fn ask(lane: &Lane, channel: &Channel, what: Ask<'_>, (request_id, timeout_ms): (Uuid, u64)) -> Answered {
    let refused = |reason: &'static str| Answered::Refused(Refusal::NotAllowed(reason.into()));
    let Some((client, pool)) = lane.apple() else { return refused("no_credential") };
    if !client.topics.contains(&channel.topic) {
        return refused("topic_not_configured");
    }
    let now_ms = lane.now_ms();
    for _ in 0..2 {
        let Ok(bearer) = client.token.bearer(now_ms) else { return refused("cannot_sign") };
        let Some(head) = manage_head(channel, what, (request_id, &bearer)) else { return refused("malformed_request") };
        let body = match what {
            Ask::Create => {
                let policy = u8::from(channel.keeps_latest);
                Bytes::from(format!(r#"{{"push-type":"LiveActivity","message-storage-policy":{policy}}}"#))
            }
            Ask::Delete(_) => Bytes::new(),
        };
        let outgoing = || Outgoing { head: head.clone(), body: body.clone() };
        let answer = match pool.request(outgoing, Duration::from_millis(timeout_ms)).await {
            Ok(answer) => answer,
            Err(Loss::Unsent(why)) => return Answered::Refused(Refusal::Later(why.into())),
            Err(Loss::Unknown(why)) => return Answered::Refused(Refusal::Unknown(why)),
        };
        if let Verdict::Renew(_) = apns::verdict(answer.status.as_u16(), &apns::reason(&answer))
            && client.token.renew(&bearer, now_ms)
        {
            continue;
        }
        return answered(&answer, what);
    }
    refused("expired_provider_token")
}

fn answered(answer: &Answer, what: Ask<'_>) -> Answered {
    let (status, text) = (answer.status.as_u16(), apns::reason(answer));
    let name = answer.headers.get(CHANNEL_ID).and_then(|name| name.to_str().ok());
    match (what, status) {
        (Ask::Create, 200 | 201) => match name.filter(|name| is_name(name)) {
            Some(name) => Answered::Done(Some(name.to_owned())),
            None => Answered::Refused(Refusal::Unknown("no_channel_id")),
        },
        (Ask::Delete(_), 200 | 204) => Answered::Done(None),
        _ => said(status, &text),
    }
}

fn said(status: u16, text: &str) -> Answered {
    let reason: Reason = if text.is_empty() { format!("http_{status}").into() } else { word(text).into() };
    if let Some((_, meaning)) = OWN.iter().find(|(own, _)| *own == text) {
        return match meaning {
            Meaning::Gone => Answered::Gone,
            Meaning::App if text == "CannotCreateChannelConfig" => Answered::Refused(Refusal::TooMany),
            Meaning::App => Answered::Refused(Refusal::NotAllowed(reason)),
            Meaning::Ours => Answered::Refused(Refusal::Wrong(reason)),
        };
    }
    Answered::Refused(match apns::verdict(status, text) {
        Verdict::Misconfigured(_) | Verdict::Renew(_) => Refusal::NotAllowed(reason),
        Verdict::Later { .. } | Verdict::Hold(_) | Verdict::Reconnect(_) => Refusal::Later(reason),
        Verdict::Accepted | Verdict::Rejected(_) | Verdict::Unregistered { .. } => Refusal::Wrong(reason),
    })
}

/// Whether a text can be Apple's name of a channel: base64, not long.
fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    (1..=256).contains(&text.len()) && text.bytes().all(good)
}

fn manage_head(channel: &Channel, what: Ask<'_>, (request_id, bearer): (Uuid, &HeaderValue)) -> Option<Request<()>> {
    let host = match channel.environment {
        Environment::Production => apns::MANAGE_PRODUCTION,
        Environment::Sandbox => apns::MANAGE_SANDBOX,
    };
    let uri = format!("https://{}/1/apps/{}/channels", host.authority, channel.topic);
    let (method, name) = match what {
        Ask::Create => (Method::POST, None),
        Ask::Delete(name) => (Method::DELETE, Some(name)),
    };
    head((method, &uri), (request_id, bearer), name)
}

fn head((method, uri): (Method, &str), (request_id, bearer): (Uuid, &HeaderValue), channel: Option<&str>) -> Option<Request<()>> {
    let mut head = Request::new(());
    *head.method_mut() = method;
    *head.uri_mut() = uri.parse::<Uri>().ok()?;
    *head.version_mut() = Version::HTTP_2;
    let headers = head.headers_mut();
    headers.insert(AUTHORIZATION, bearer.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, HeaderValue::from_str(&request_id.as_hyphenated().to_string()).ok()?);
    if let Some(channel) = channel {
        headers.insert(CHANNEL_ID, HeaderValue::from_str(channel).ok()?);
    }
    Some(head)
}

/// A broadcast as a request, as it has to look now.
///
/// # Errors
/// The reason why it can never be sent.
pub(super) fn request(
    lane: &Lane,
    (broadcast, channel): (&Broadcast, &Channel),
    now_ms: i64,
) -> Result<(Outgoing, HeaderValue), &'static str> {
    let (client, _) = lane.apple().ok_or("no_credential")?;
    if !client.topics.contains(&channel.topic) {
        return Err("topic_not_configured");
    }
    let name = channel.name.as_deref().ok_or("channel_not_live")?;
    let bearer = client.token.bearer(now_ms)?;
    let host = match channel.environment {
        Environment::Production => apns::PRODUCTION,
        Environment::Sandbox => apns::SANDBOX,
    };
    let uri = format!("https://{host}/4/broadcasts/apps/{}", channel.topic);
    let malformed = "malformed_request";
    let mut head = head((Method::POST, &uri), (broadcast.id.uuid(), &bearer), Some(name)).ok_or(malformed)?;
    // Rounded down, so that Apple never holds it longer than we may; nothing left of it means now or never.
    let keep_s = broadcast.keep_until_ms.div_euclid(1_000);
    let keep_s = if keep_s * 1_000 <= now_ms { 0 } else { keep_s };
    let headers = head.headers_mut();
    headers.insert(PUSH_TYPE, HeaderValue::from_static("liveactivity"));
    headers.insert(EXPIRATION, HeaderValue::from(keep_s));
    headers.insert(PRIORITY, HeaderValue::from(broadcast.priority));
    Ok((Outgoing { head, body: Bytes::from(broadcast.payload.clone()) }, bearer))
}

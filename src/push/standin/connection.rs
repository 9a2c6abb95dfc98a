//! The stand-in's server: connections, streams, and the faults that strike them.

use super::fault::{self, Fault, GoneTo};
use super::ledger::Row;
use super::tap::{Control, Tap, goaway};
use super::{Inner, Reply, apns, control, fcm};
use crate::push::Gateway;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Request, Response, StatusCode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const WINDOW_BYTES: u32 = 16 << 20;
const BODY_LIMIT_BYTES: usize = 4 << 20;

/// What the streams of one connection share.
#[derive(Default)]
pub(super) struct Wire {
    control: Arc<Control>,
    /// Whether a request with a valid token has succeeded: until then Apple allows one stream.
    warm: AtomicBool,
    open: AtomicUsize,
    shown: Mutex<Option<(String, i64)>>,
}

impl Wire {
    /// Notes the provider token that a connection shows; false when it is renewed too often.
    pub(super) fn shows(&self, token: &str, iat_s: i64, at_most_every_s: i64) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some((held, _)) if held == token => true,
            // Requests made before a renewal may arrive after it.
            Some((_, held_s)) if iat_s < *held_s => true,
            Some((_, held_s)) if iat_s - held_s < at_most_every_s => false,
            _ => {
                *shown = Some((token.to_owned(), iat_s));
                true
            }
        }
    }
}

/// Serves until the runtime ends.
pub(super) async fn accept(inner: Arc<Inner>, listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        tokio::spawn(serve(Arc::clone(&inner), tcp, acceptor.clone()));
    }
}

async fn serve(inner: Arc<Inner>, tcp: TcpStream, acceptor: TlsAcceptor) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let wire = Arc::new(Wire::default());
    let io = Tap::new(tls, Arc::clone(&wire.control));
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(inner.streams.load(Ordering::SeqCst))
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_reset_streams(10_000)
        .handshake::<_, Bytes>(io)
        .await;
    let Ok(mut connection) = handshake else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(stream(Arc::clone(&inner), Arc::clone(&wire), request, respond));
    }
}

async fn stream(inner: Arc<Inner>, wire: Arc<Wire>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let first = wire.open.fetch_add(1, Ordering::SeqCst) == 0;
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    // Apple's rule; whoever opens many streams before a first success meets it at once.
    if !first && !wire.warm.load(Ordering::SeqCst) && path.starts_with("/3/device/") {
        respond.send_reset(Reason::REFUSED_STREAM);
    } else if let Some(body) = read(body).await {
        handle(&inner, &wire, Received { head, path, body }, &mut respond).await;
    }
    wire.open.fetch_sub(1, Ordering::SeqCst);
}

struct Received {
    head: http::request::Parts,
    path: String,
    body: Bytes,
}

async fn read(mut body: RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        body.flow_control().release_capacity(chunk.len()).ok()?;
        if whole.len() + chunk.len() > BODY_LIMIT_BYTES {
            return None;
        }
        whole.extend_from_slice(&chunk);
    }
    Some(whole.freeze())
}

async fn handle(inner: &Inner, wire: &Wire, received: Received, respond: &mut SendResponse<Bytes>) {
    let Received { head, path, body } = received;
    let at_ms = inner.clock.now_ms();
    if let Some(rest) = path.strip_prefix("/standin/") {
        return send(respond, control::answer(inner, &head.method, rest, &body));
    }
    let post = head.method == http::Method::POST;
    if path == "/token" && post {
        return send(respond, fcm::exchange(inner, &body));
    }
    if let Some(token) = path.strip_prefix("/3/device/") {
        if !post {
            return send(respond, apns::error(405, "MethodNotAllowed", None));
        }
        let authority = head.uri.authority().map_or("", http::uri::Authority::as_str);
        let arrived = apns::Arrived { authority, token, headers: &head.headers, body: &body };
        let row = arrived.row(at_ms);
        return finish((inner, wire), row, respond, || arrived.judge(inner, wire)).await;
    }
    let project = path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/messages:send"));
    if let (Some(project_id), true) = (project, post) {
        let arrived = fcm::Arrived::new(project_id, &head.headers, &body);
        let row = arrived.row(at_ms);
        return finish((inner, wire), row, respond, || arrived.judge(inner, inner.ledger.len())).await;
    }
    send(respond, apns::error(404, "BadPath", None));
}

/// Lets a fault strike, else judges; writes the ledger before the answer leaves.
async fn finish((inner, wire): (&Inner, &Wire), row: Row, respond: &mut SendResponse<Bytes>, judge: impl FnOnce() -> Reply) {
    let stream = respond.stream_id().as_u32();
    let log = |answer: &str, delivered: bool| {
        inner.ledger.append(Row { answer: answer.to_owned(), delivered, ..row.clone() });
    };
    match inner.faults.strike(row.gateway, &row.token) {
        None => {}
        Some(Fault::Answer { status, reason, retry_after_s, timestamp_ms }) => {
            let reply = Reply { retry_after_s, ..fault::answer(row.gateway, status, &reason, timestamp_ms) };
            return reply_and_log(inner, row, reply, respond);
        }
        Some(Fault::CutAfterRequest) => {
            log("cut", true);
            return wire.control.cut();
        }
        Some(Fault::RefuseStream) => {
            log("refused", false);
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        Some(Fault::GoAway { last: GoneTo::Before, close }) => {
            log("goaway", false);
            wire.control.inject(&goaway(stream.saturating_sub(2), 0), close);
            // Never answered: dropping the stream would reset it, which is another story.
            return std::future::pending().await;
        }
        Some(Fault::GoAway { last: GoneTo::This, close }) => {
            if close {
                log("goaway", true);
                return wire.control.inject(&goaway(stream, 0), true);
            }
            wire.control.inject(&goaway(stream, 0), false);
        }
        Some(Fault::GoAway { last: GoneTo::All, close }) => wire.control.inject(&goaway(u32::MAX, 0), close),
        Some(Fault::Slow { wait_ms }) => {
            #[expect(clippy::disallowed_methods, reason = "slowness of a gateway is in machine time")]
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        Some(Fault::Silent) => {
            log("silent", true);
            // Until the client gives up: a stream that it has reset must not count as open.
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            return;
        }
    }
    let reply = judge();
    if wire.control.is_cut() {
        return log("cut", reply.status == 200);
    }
    if reply.status == 200 && row.gateway == Gateway::Apns {
        wire.warm.store(true, Ordering::SeqCst);
    }
    reply_and_log(inner, row, reply, respond);
}

fn reply_and_log(inner: &Inner, mut row: Row, reply: Reply, respond: &mut SendResponse<Bytes>) {
    row.answer = reply.reason.as_ref().map_or_else(|| reply.status.to_string(), |r| format!("{} {r}", reply.status));
    row.delivered = reply.status == 200;
    inner.ledger.append(row);
    send(respond, reply);
}

fn send(respond: &mut SendResponse<Bytes>, reply: Reply) {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = head.headers_mut();
    if let Some(seconds) = reply.retry_after_s {
        headers.insert("retry-after", HeaderValue::from(seconds));
    }
    if let Some(id) = reply.apns_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        headers.insert("apns-id", id);
    }
    let empty = reply.body.is_empty();
    // The client may be gone: then nobody reads the answer.
    if let Ok(mut body) = respond.send_response(head, empty)
        && !empty
    {
        let _ = body.send_data(reply.body, true);
    }
}

//! The stand-in's server: connections, streams, and the faults that strike them.

use super::fault::{self, Door, Fault, GoneTo};
use super::ledger::Row;
use super::tap::{Control, Tap, goaway};
use super::{Inner, Reply, apns, broadcast, control, fcm, topics, webpush};
use crate::push::Gateway;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Request, Response, StatusCode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const WINDOW_BYTES: u32 = 16 << 20;
const BODY_LIMIT_BYTES: usize = 4 << 20;
/// More streams than anybody is told to open.
const STREAMS_MAX: u32 = 100_000;

/// What the streams of one connection share.
#[derive(Default)]
pub(super) struct Wire {
    control: Arc<Control>,
    /// Whether a request with a valid token has succeeded: until then Apple allows one stream.
    warm: AtomicBool,
    open: AtomicUsize,
    shown: Mutex<Option<(String, i64)>>,
    /// The team and the key that the connection is bound to since its first push.
    bound: Mutex<Option<(String, String)>>,
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

impl Wire {
    /// Binds the connection to a team and a key; Apple's word when it is bound to others.
    pub(super) fn bind(&self, team_id: &str, key_id: &str) -> Result<(), &'static str> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match bound.as_ref() {
            Some((team, _)) if team != team_id => Err("InvalidProviderToken"),
            Some((_, key)) if key != key_id => Err("UnrelatedKeyIdInToken"),
            Some(_) => Ok(()),
            None => {
                *bound = Some((team_id.to_owned(), key_id.to_owned()));
                Ok(())
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
    let door = inner.door();
    match door {
        Door::Closed => return,
        Door::Mute => return hold(tcp).await,
        Door::Open | Door::CutAfterTls | Door::NoSettings => {}
    }
    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
    match door {
        Door::CutAfterTls => {
            let _ = tls.shutdown().await;
            return;
        }
        Door::NoSettings => return hold(tls).await,
        Door::Open | Door::Closed | Door::Mute => {}
    }
    let wire = Arc::new(Wire::default());
    inner.wires.add(&wire.control);
    let io = Tap::new(tls, Arc::clone(&wire.control), inner.streams.load(Ordering::SeqCst));
    let handshake = h2::server::Builder::new()
        // What the client is told stands in `Tap`, and is kept to below.
        .max_concurrent_streams(STREAMS_MAX)
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

/// Says nothing until the client goes.
async fn hold(mut socket: impl tokio::io::AsyncRead + Unpin) {
    let mut bytes = [0; 1_024];
    while socket.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
}

/// One stream of a connection; it counts as open until its answer is about to leave, for then the client may open another.
struct Stream {
    wire: Arc<Wire>,
    open: AtomicBool,
}

impl Stream {
    fn done(&self) {
        if self.open.swap(false, Ordering::SeqCst) {
            self.wire.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.done();
    }
}

impl std::ops::Deref for Stream {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

async fn stream(inner: Arc<Inner>, wire: Arc<Wire>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let others = wire.open.fetch_add(1, Ordering::SeqCst);
    let wire = Stream { wire, open: AtomicBool::new(true) };
    let first = others == 0;
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    // Apple's rule; whoever opens many streams before a first success meets it at once.
    let pushes = path.starts_with("/3/device/") || path.starts_with("/4/");
    let cold = pushes && !first && !wire.warm.load(Ordering::SeqCst);
    let over = others >= usize::try_from(wire.control.limit()).unwrap_or(usize::MAX);
    if cold || over {
        respond.send_reset(Reason::REFUSED_STREAM);
    } else if let Some(body) = read(body).await {
        handle(&inner, &wire, Received { head, path, body }, &mut respond).await;
    }
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

async fn handle(inner: &Inner, wire: &Stream, received: Received, respond: &mut SendResponse<Bytes>) {
    let Received { head, path, body } = received;
    let at_ms = inner.clock.now_ms();
    let send = |respond: &mut SendResponse<Bytes>, reply: Reply| {
        wire.done();
        send(respond, reply);
    };
    if let Some(rest) = path.strip_prefix("/standin/") {
        return send(
            respond,
            control::answer(inner, &control::Asked { method: &head.method, path: rest, query: head.uri.query(), body: &body }),
        );
    }
    let post = head.method == http::Method::POST;
    if path == "/token" && post {
        return send(respond, fcm::exchange(inner, &head, &body));
    }
    let authority = head.uri.authority().map_or("", http::uri::Authority::as_str);
    if let Some(token) = path.strip_prefix("/3/device/") {
        if !post {
            return send(respond, apns::error(405, "MethodNotAllowed", None));
        }
        let arrived = apns::Arrived { authority, token, headers: &head.headers, body: &body };
        let row = arrived.row(at_ms);
        return finish((inner, wire), row, respond, || arrived.judge(inner, wire)).await;
    }
    let request = broadcast::Request { authority, method: &head.method, path: &path, headers: &head.headers, body: &body };
    if let Some(at) = request.manage_path() {
        return send(respond, request.manage(inner, wire, at));
    }
    if let (Some(bundle), true) = (request.broadcast_bundle(), post) {
        return finish((inner, wire), request.row(at_ms), respond, || request.broadcast(inner, wire, bundle)).await;
    }
    if let Some(request) = topics::Request::of(&head, &body) {
        return send(respond, request.answer(inner));
    }
    let project = path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/messages:send"));
    if let (Some(project_id), true) = (project, post) {
        let arrived = fcm::Arrived::new(project_id, &head.headers, &body);
        let row = arrived.row(at_ms);
        let judge = || match inner.quotas.refusal(project_id, at_ms) {
            Some(refusal) => refusal,
            None => arrived.judge(inner, inner.ledger.len()),
        };
        return finish((inner, wire), row, respond, judge).await;
    }
    if path.starts_with(webpush::PATH) && post {
        let arrived = webpush::Arrived::new(inner, &head, &body);
        let row = arrived.row(at_ms);
        return finish((inner, wire), row, respond, || arrived.judge(inner)).await;
    }
    send(respond, apns::error(404, "BadPath", None));
}

/// Lets a fault strike, else judges; writes the ledger before the answer leaves.
async fn finish((inner, wire): (&Inner, &Stream), row: Row, respond: &mut SendResponse<Bytes>, judge: impl FnOnce() -> Reply) {
    let log = |answer: &str, delivered: bool| {
        inner.ledger.append(Row { answer: answer.to_owned(), delivered, ..row.clone() });
    };
    match inner.faults.strike(row.gateway, &row.token) {
        None => {}
        Some(Fault::Answer { status, reason, retry_after_s, timestamp_ms }) => {
            let reply = Reply { retry_after_s, ..fault::answer(row.gateway, status, &reason, timestamp_ms) };
            wire.done();
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
        Some(Fault::GoAway { last, close }) if !take_leave((wire, respond), (last, close, ""), log).await => return,
        Some(Fault::GoAway { .. }) => {}
        Some(Fault::Farewell { last, close, reason }) => {
            let says = serde_json::json!({ "reason": reason }).to_string();
            if !take_leave((wire, respond), (last, close, &says), log).await {
                return;
            }
        }
        Some(Fault::Reset { code }) => {
            log("reset", true);
            return respond.send_reset(Reason::from(code));
        }
        Some(Fault::CutInAnswer) => {
            log("cut", true);
            let Ok(_body) = respond.send_response(Response::new(()), false) else { return };
            pause(20).await;
            return wire.control.cut();
        }
        Some(Fault::Stall { wait_ms }) => {
            wire.control.stall(true);
            pause(wait_ms).await;
            wire.control.stall(false);
        }
        Some(Fault::Drip { every_ms }) => return drip((inner, row), judge(), (respond, every_ms)).await,
        Some(Fault::Slow { wait_ms }) => pause(wait_ms).await,
        Some(Fault::Silent) => {
            log("silent", true);
            // Until the client gives up: a stream that it has reset must not count as open.
            let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            return;
        }
    }
    let reply = judge();
    if wire.control.is_cut() {
        return log("cut", reply.delivers());
    }
    if reply.status == 200 && row.gateway == Gateway::Apns {
        wire.warm.store(true, Ordering::SeqCst);
    }
    wire.done();
    reply_and_log(inner, row, reply, respond);
}

#[expect(clippy::disallowed_methods, reason = "slowness of a gateway is in machine time")]
async fn pause(wait_ms: u64) {
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// Sends a GOAWAY; whether the push is answered after it.
async fn take_leave(
    (wire, respond): (&Stream, &mut SendResponse<Bytes>),
    (last, close, says): (GoneTo, bool, &str),
    log: impl Fn(&str, bool),
) -> bool {
    let stream = respond.stream_id().as_u32();
    match last {
        GoneTo::Before => {
            log("goaway", false);
            wire.control.inject(&goaway(stream.saturating_sub(2), says), close);
            // Never answered: dropping the stream would reset it, which is another story.
            std::future::pending().await
        }
        GoneTo::This if close => {
            log("goaway", true);
            wire.control.inject(&goaway(stream, says), true);
            false
        }
        GoneTo::This => {
            wire.control.inject(&goaway(stream, says), false);
            true
        }
        GoneTo::All => {
            wire.control.inject(&goaway(u32::MAX, says), close);
            true
        }
    }
}

/// Answers byte by byte.
async fn drip((inner, mut row): (&Inner, Row), reply: Reply, (respond, every_ms): (&mut SendResponse<Bytes>, u64)) {
    note(&mut row, &reply);
    inner.ledger.append(row);
    let body = reply.body.clone();
    pause(every_ms).await;
    let Ok(mut upload) = respond.send_response(head_of(&reply), body.is_empty()) else { return };
    for n in 0..body.len() {
        pause(every_ms).await;
        if upload.send_data(body.slice(n..=n), n + 1 == body.len()).is_err() {
            return;
        }
    }
}

fn note(row: &mut Row, reply: &Reply) {
    row.answer = reply.reason.as_ref().map_or_else(|| reply.status.to_string(), |r| format!("{} {r}", reply.status));
    row.delivered = reply.delivers();
}

fn reply_and_log(inner: &Inner, mut row: Row, reply: Reply, respond: &mut SendResponse<Bytes>) {
    note(&mut row, &reply);
    inner.ledger.append(row);
    send(respond, reply);
}

fn head_of(reply: &Reply) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = head.headers_mut();
    if let Some(seconds) = reply.retry_after_s {
        headers.insert("retry-after", HeaderValue::from(seconds));
    }
    for (name, text) in [
        ("apns-id", &reply.apns_id),
        ("apns-unique-id", &reply.unique_id),
        ("apns-request-id", &reply.request_id),
        ("apns-channel-id", &reply.channel_id),
        ("location", &reply.location),
    ] {
        if let Some(text) = text.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, text);
        }
    }
    head
}

fn send(respond: &mut SendResponse<Bytes>, reply: Reply) {
    let empty = reply.body.is_empty();
    // The client may be gone: then nobody reads the answer.
    if let Ok(mut body) = respond.send_response(head_of(&reply), empty)
        && !empty
    {
        let _ = body.send_data(reply.body, true);
    }
}

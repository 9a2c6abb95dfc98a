//! One request: a slot in hand, the last check, the hand-over, and the answer or what is known of its loss.

use super::connection::Live;
use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Answers of gateways are short; what lies beyond is not read.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;

/// A body goes out in frames of at most so many bytes: `h2` writes larger ones to the socket one by one, smaller ones
/// together with what else is to be sent (`CHAIN_THRESHOLD_WITHOUT_VECTORED_IO` in its `framed_write.rs`).
const PIECE_BYTES: usize = 1_000;

/// The right to open one stream now. Dropping it gives it back.
pub struct Slot(Permit);

struct Permit(Arc<Live>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A request, ready for the wire.
pub struct Outgoing {
    /// Method, URI and headers.
    pub head: Request<()>,
    /// The body; not empty.
    pub body: Bytes,
}

/// Why a request was not handed over: nothing has left.
#[derive(Debug, PartialEq, Eq)]
pub enum HandOver<R> {
    /// The last check said so.
    Refused(R),
    /// The connection went away while the slot was held, or the peer lowered its limit: take another slot.
    Closed,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The peer has not processed it and will not: safe to send again.
    Unsent(&'static str),
    /// Nobody knows whether the peer has processed it.
    Unknown(&'static str),
}

impl Loss {
    /// The word for no answer in time.
    pub const TIMEOUT: &'static str = "timeout";
}

/// What the gateway said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, as far as it was read.
    pub body: Bytes,
}

/// A request that was handed over and not answered yet.
pub struct Flying {
    response: ResponseFuture,
    // Held so that the stream is not reset before its body has left.
    upload: SendStream<Bytes>,
    permit: Permit,
}

impl Slot {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self(Permit(live))
    }

    /// Runs the last check and queues what it returns, with nothing in between that could wait.
    ///
    /// # Errors
    /// What the check returns, or that the connection is no longer there; in both cases nothing has left.
    pub fn hand_over<R>(self, last_check: impl FnOnce() -> Result<Outgoing, R>) -> Result<Flying, HandOver<R>> {
        let permit = self.0;
        if !permit.0.is_open() || permit.0.is_over() {
            return Err(HandOver::Closed);
        }
        let Outgoing { head, mut body } = last_check().map_err(HandOver::Refused)?;
        let (response, mut upload) = permit.0.with_sender(|s| s.send_request(head, false)).map_err(|_| HandOver::Closed)?;
        // An error here means that the connection has just ended; the answer says which kind of loss that is.
        while body.len() > PIECE_BYTES {
            let _ = upload.send_data(body.split_to(PIECE_BYTES), false);
        }
        let _ = upload.send_data(body, true);
        Ok(Flying { response, upload, permit })
    }
}

impl Flying {
    /// Waits for the whole answer, at most this long.
    ///
    /// # Errors
    /// What is known of the loss.
    pub async fn answer(self, within: Duration) -> Result<Answer, Loss> {
        let Self { response, upload, permit } = self;
        let (stream, deadline) = (response.stream_id().as_u32(), Instant::now() + within);
        let head = match timeout_at(deadline, response).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => return Err(judge(&permit.0, stream, &error)),
            // The frames may still lie in a buffer that goes out later: never safe to send again.
            Err(_) => return Err(Loss::Unknown(Loss::TIMEOUT)),
        };
        let (head, body) = head.into_parts();
        // What succeeds at Apple has none: the room for reading it is not taken by every push in flight.
        let body = if body.is_end_stream() { Bytes::new() } else { Box::pin(read(body, deadline)).await };
        let answer = Answer { status: head.status, headers: head.headers, body };
        drop(upload);
        permit.0.answered(&answer);
        Ok(answer)
    }
}

/// The status has decided already: a body that is cut short is taken as far as it came.
async fn read(mut body: RecvStream, deadline: Instant) -> Bytes {
    let mut whole = BytesMut::new();
    while let Ok(Some(Ok(chunk))) = timeout_at(deadline, body.data()).await {
        if body.flow_control().release_capacity(chunk.len()).is_err() || whole.len() + chunk.len() > ANSWER_LIMIT_BYTES {
            break;
        }
        whole.extend_from_slice(&chunk);
    }
    whole.freeze()
}

fn judge(live: &Live, stream: u32, error: &h2::Error) -> Loss {
    if error.is_reset() && error.is_remote() {
        return if error.reason() == Some(Reason::REFUSED_STREAM) {
            Loss::Unsent("refused_stream")
        } else {
            Loss::Unknown("stream_reset")
        };
    }
    if live.seen.disowned(stream) {
        return Loss::Unsent("goaway");
    }
    // The connection has failed, so nothing more leaves: what has not left never will.
    if !live.seen.left(stream) {
        return Loss::Unsent("never_left");
    }
    Loss::Unknown(if live.seen.goaway() { "goaway" } else { "connection_lost" })
}

//! A socket into which a fault can put raw frames, and which a fault can cut: what no HTTP/2 library does by itself.

use crate::outbound::wire::Frames;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The type of a SETTINGS frame, its flag ACK, and the setting that limits streams.
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What a fault asks of a connection.
#[derive(Default)]
pub(super) struct Control(Mutex<Order>);

#[derive(Default)]
struct Order {
    inject: Vec<u8>,
    close: bool,
    closed: bool,
    /// Nothing is read or written until it is over.
    stalled: bool,
    /// Limits on streams that were announced and not acknowledged yet, after the one that is in force.
    limits: VecDeque<u32>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Control {
    /// Sends these bytes as soon as no frame is half-way out.
    pub(super) fn inject(&self, bytes: &[u8], close: bool) {
        let mut order = self.order();
        order.inject.extend_from_slice(bytes);
        order.close |= close;
        order.wake();
    }

    /// Says how many streams may be open from now on. The client has to keep to it once it has acknowledged it.
    pub(super) fn announce(&self, streams: u32) {
        let mut frame = vec![0, 0, 6, SETTINGS, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&MAX_CONCURRENT_STREAMS.to_be_bytes());
        frame.extend_from_slice(&streams.to_be_bytes());
        self.order().limits.push_back(streams);
        self.inject(&frame, false);
    }

    /// How many streams the client may have open.
    pub(super) fn limit(&self) -> u32 {
        let order = self.order();
        // What is on its way to a client that has not acknowledged it yet is not held against it.
        order.limits.iter().copied().max().unwrap_or(u32::MAX)
    }

    fn acknowledged(&self) {
        let mut order = self.order();
        if order.limits.len() > 1 {
            order.limits.pop_front();
        }
    }

    /// Stops the connection, or lets it go on.
    pub(super) fn stall(&self, stalled: bool) {
        let mut order = self.order();
        order.stalled = stalled;
        order.wake();
    }

    /// Ends the connection without a word.
    pub(super) fn cut(&self) {
        self.inject(&[], true);
    }

    /// Whether a fault has ended, or is about to end, the connection.
    pub(super) fn is_cut(&self) -> bool {
        let order = self.order();
        order.close || order.closed
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// A GOAWAY frame without error, with what it has to say (at most 200 bytes).
pub(super) fn goaway(last_stream: u32, says: &str) -> Vec<u8> {
    let says = says.as_bytes().get(..says.len().min(200)).unwrap_or_default();
    let length = u8::try_from(8 + says.len()).unwrap_or(8);
    let mut frame = vec![0, 0, length, 7, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&(last_stream & 0x7fff_ffff).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(says);
    frame
}

/// Follows what the client sends, and keeps from the library the acknowledgements of SETTINGS that it knows nothing of.
struct Sieve {
    head: Vec<u8>,
    skip: usize,
    acknowledged: usize,
    kept: Vec<u8>,
}

impl Sieve {
    fn new() -> Self {
        // A client begins with 24 bytes that are no frame.
        Self { head: Vec::with_capacity(9), skip: 24, acknowledged: 0, kept: Vec::new() }
    }

    /// Takes bytes in; what may pass is in `kept`. Answers how many acknowledgements of ours there were.
    fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let mut ours = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (now, rest) = bytes.split_at(self.skip.min(bytes.len()));
                self.kept.extend_from_slice(now);
                self.skip -= now.len();
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at((9 - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(now);
            bytes = rest;
            if let &[a, b, c, kind, flags, ..] = self.head.as_slice()
                && self.head.len() == 9
            {
                let acknowledges = kind == SETTINGS && flags & ACK != 0;
                self.acknowledged += usize::from(acknowledges);
                // The first one is for the library's own.
                if acknowledges && self.acknowledged > 1 {
                    ours += 1;
                } else {
                    self.kept.extend_from_slice(&self.head);
                    self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                }
                self.head.clear();
            }
        }
        ours
    }

    fn pass(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let n = self.kept.len().min(buf.remaining());
        buf.put_slice(self.kept.get(..n).unwrap_or_default());
        self.kept.drain(..n);
        n > 0
    }
}

/// Writes another limit into the SETTINGS with which the library begins; it has to allow more itself, so that the limit
/// can be raised later.
fn with_limit(bytes: &[u8], streams: u32) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    let length = match frame.as_slice() {
        [a, b, c, SETTINGS, ..] => u32::from_be_bytes([0, *a, *b, *c]) as usize,
        _ => return frame,
    };
    frame.truncate(9 + length);
    for setting in frame.get_mut(9..).unwrap_or_default().chunks_exact_mut(6) {
        if let [0, 3, value @ ..] = setting {
            value.copy_from_slice(&streams.to_be_bytes());
        }
    }
    frame
}

pub(super) struct Tap<T> {
    inner: T,
    control: Arc<Control>,
    outbound: Frames,
    sieve: Sieve,
    /// Whether the library's first frame has been seen, and what of the changed one has not left yet.
    begun: bool,
    changed: Vec<u8>,
    streams: u32,
}

impl<T: AsyncWrite + Unpin> Tap<T> {
    /// A connection that begins with this many streams.
    pub(super) fn new(inner: T, control: Arc<Control>, streams: u32) -> Self {
        control.order().limits.push_back(streams);
        let (outbound, sieve) = (Frames::default(), Sieve::new());
        Self { inner, control, outbound, sieve, begun: false, changed: Vec::new(), streams }
    }

    /// Carries out what was ordered: an error once the connection is cut, pending while it is stalled.
    fn obey(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<io::Result<()>> {
        if self.carry_out(cx, reads)? {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.control.order().stalled { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, reads: bool) -> io::Result<bool> {
        let control = Arc::clone(&self.control);
        let mut order = control.order();
        if order.closed {
            return Ok(true);
        }
        let waker = if reads { &mut order.reader } else { &mut order.writer };
        *waker = Some(cx.waker().clone());
        if order.stalled {
            return Ok(false);
        }
        if !self.outbound.at_boundary() {
            return Ok(false);
        }
        while !order.inject.is_empty() {
            match Pin::new(&mut self.inner).poll_write(cx, &order.inject) {
                Poll::Ready(Ok(n)) => drop(order.inject.drain(..n)),
                Poll::Ready(Err(e)) => return Err(e),
                Poll::Pending => return Ok(false),
            }
        }
        if Pin::new(&mut self.inner).poll_flush(cx)?.is_pending() {
            return Ok(false);
        }
        order.closed = order.close;
        Ok(order.closed)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tap<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.obey(cx, true))?;
        loop {
            if me.sieve.pass(buf) {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut me.inner).poll_read(cx, buf))?;
            let new = buf.filled().get(before..).unwrap_or_default();
            if new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            for _ in 0..me.sieve.feed(new) {
                me.control.acknowledged();
            }
            buf.set_filled(before);
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        ready!(me.obey(cx, false))?;
        if !me.begun && !bytes.is_empty() {
            me.begun = true;
            me.changed = with_limit(bytes, me.streams);
        }
        let own = me.changed.len().min(bytes.len());
        let sent = if own == 0 { bytes } else { me.changed.get(..own).unwrap_or_default() };
        let n = ready!(Pin::new(&mut me.inner).poll_write(cx, sent))?;
        me.outbound.feed(sent.get(..n).unwrap_or_default(), |_, _, _| {});
        if own > 0 {
            me.changed.drain(..n);
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.obey(cx, false))?;
        Pin::new(&mut me.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

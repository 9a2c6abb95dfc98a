//! Follows the HTTP/2 frames that pass through a socket, for two facts that decide whether a lost request was seen.
//!
//! Which streams' HEADERS have been given to the socket (one that never was is safe to send again), and the last stream
//! that a peer's GOAWAY vouches for (those above it were not and will not be processed).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 0x1;
const GOAWAY: u8 = 0x7;
const STREAM_ID: u32 = 0x7fff_ffff;

/// What was seen on one connection.
#[derive(Debug)]
pub struct Seen {
    headers_left: AtomicU32,
    goaway_last: AtomicU32,
    goaway: AtomicBool,
}

impl Default for Seen {
    fn default() -> Self {
        Self { headers_left: AtomicU32::new(0), goaway_last: AtomicU32::new(STREAM_ID), goaway: AtomicBool::new(false) }
    }
}

impl Seen {
    /// Whether the HEADERS of this stream were given to the socket. Streams are opened in the order of their ids.
    pub fn left(&self, stream: u32) -> bool {
        stream <= self.headers_left.load(Ordering::SeqCst)
    }

    /// Whether the peer said goodbye.
    pub fn goaway(&self) -> bool {
        self.goaway.load(Ordering::SeqCst)
    }

    /// Whether the peer's goodbye says that this stream was not and will not be processed.
    pub fn disowned(&self, stream: u32) -> bool {
        self.goaway() && stream > self.goaway_last.load(Ordering::SeqCst)
    }
}

/// Splits a byte stream into frames without keeping them.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; 13],
    have: usize,
    skip: usize,
}

impl Frames {
    /// For the side that begins with the connection preface.
    pub fn after_preface() -> Self {
        Self { skip: PREFACE_BYTES, ..Self::default() }
    }

    /// Whether the next byte begins a frame.
    pub fn at_boundary(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Feeds bytes; `see` is told (type, stream id, first four bytes of a GOAWAY's payload) of each frame.
    pub fn feed(&mut self, mut bytes: &[u8], mut see: impl FnMut(u8, u32, u32)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = bytes.get(n..).unwrap_or_default();
                continue;
            }
            let want = if self.have >= 9 { self.wanted() } else { 9 };
            let n = (want - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at(n);
            if let Some(slots) = self.head.get_mut(self.have..self.have + n) {
                slots.copy_from_slice(now);
            }
            self.have += n;
            bytes = rest;
            if self.have >= 9 && self.have == self.wanted() {
                let [a, b, c, kind, _, s0, s1, s2, s3, p0, p1, p2, p3] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                see(kind, u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_ID, u32::from_be_bytes([p0, p1, p2, p3]) & STREAM_ID);
                self.skip = length.saturating_sub(self.have - 9);
                self.have = 0;
            }
        }
    }

    /// A GOAWAY is looked at with the stream id at the head of its payload, all others by their header.
    fn wanted(&self) -> usize {
        let [a, b, c, kind, ..] = self.head;
        if kind == GOAWAY && u32::from_be_bytes([0, a, b, c]) >= 4 { 13 } else { 9 }
    }
}

/// A socket whose frames are followed, as the client sees them. It takes no vectored writes: `h2` then copies small frames
/// into one buffer and writes many pushes at once, instead of each by itself.
pub struct Watched<T> {
    inner: T,
    seen: Arc<Seen>,
    inbound: Frames,
    outbound: Frames,
}

impl<T> Watched<T> {
    /// Follows `inner` from its first byte.
    pub fn new(inner: T, seen: Arc<Seen>) -> Self {
        Self { inner, seen, inbound: Frames::default(), outbound: Frames::after_preface() }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let seen = &self.seen;
        self.outbound.feed(bytes, |kind, stream, _| {
            if kind == HEADERS {
                seen.headers_left.fetch_max(stream, Ordering::SeqCst);
            }
        });
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut me.inner).poll_read(cx, buf);
        let seen = &me.seen;
        me.inbound.feed(buf.filled().get(before..).unwrap_or_default(), |kind, _, last| {
            if kind == GOAWAY {
                // A later GOAWAY may only lower it.
                seen.goaway_last.fetch_min(last, Ordering::SeqCst);
                seen.goaway.store(true, Ordering::SeqCst);
            }
        });
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let result = Pin::new(&mut me.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &result {
            me.sent(bytes.get(..*n).unwrap_or_default());
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

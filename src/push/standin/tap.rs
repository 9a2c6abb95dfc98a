//! A socket into which a fault can put raw frames, and which a fault can cut: what no HTTP/2 library does by itself.

use crate::outbound::wire::Frames;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a fault asks of a connection.
#[derive(Default)]
pub(super) struct Control(Mutex<Order>);

#[derive(Default)]
struct Order {
    inject: Vec<u8>,
    close: bool,
    closed: bool,
    reader: Option<Waker>,
}

impl Control {
    /// Sends these bytes as soon as no frame is half-way out.
    pub(super) fn inject(&self, bytes: &[u8], close: bool) {
        let mut order = self.order();
        order.inject.extend_from_slice(bytes);
        order.close |= close;
        if let Some(waker) = order.reader.take() {
            waker.wake();
        }
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

/// A GOAWAY frame without error, or with one.
pub(super) fn goaway(last_stream: u32, error: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&(last_stream & 0x7fff_ffff).to_be_bytes());
    frame.extend_from_slice(&error.to_be_bytes());
    frame
}

pub(super) struct Tap<T> {
    inner: T,
    control: Arc<Control>,
    outbound: Frames,
}

impl<T: AsyncWrite + Unpin> Tap<T> {
    pub(super) fn new(inner: T, control: Arc<Control>) -> Self {
        Self { inner, control, outbound: Frames::default() }
    }

    /// Carries out what was ordered; true once the connection is cut.
    fn obey(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let control = Arc::clone(&self.control);
        let mut order = control.order();
        if order.closed {
            return Ok(true);
        }
        order.reader = Some(cx.waker().clone());
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
        if me.obey(cx)? {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut me.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        if me.obey(cx)? {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let result = Pin::new(&mut me.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &result {
            me.outbound.feed(bytes.get(..*n).unwrap_or_default(), |_, _, _| {});
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.obey(cx)? {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut me.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

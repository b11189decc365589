//! One connection to an upstream, and one exchange at a time on it.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::framing::{Framing, Head, ProtocolError, Step, take_head};
use super::{Outgoing, OutgoingBody, UpstreamError};
use crate::watchdog::Watchdog;

/// The bytes below HTTP.
#[derive(Debug)]
pub(super) enum Io {
    /// Only on loopback, or to an application.
    Plain(TcpStream),
    /// To an application.
    Unix(UnixStream),
    /// TLS, with certificate and name checked.
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection. Whoever holds it has it alone; it is polled by the request's own task, so that an
/// exchange costs no second task, no channel and no wake-up between them.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    received: BytesMut,
    watchdog: Watchdog,
    limits: Limits,
    born: Instant,
    /// When the last exchange on it ended.
    idle_since: Instant,
    used: bool,
}

/// The times that bound one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the exchange begins: now.
    pub start: Instant,
    /// The end of the whole exchange.
    pub deadline: Instant,
    /// From the last byte of the request to the head of the answer.
    pub head: Duration,
    /// Between two bytes of a body, in either direction.
    pub progress: Duration,
}

impl Connection {
    pub(super) fn new(io: Io, limits: Limits) -> Self {
        let now = limits.start;
        let watchdog = Watchdog::new(limits.deadline);
        let received = BytesMut::with_capacity(READ_SIZE);
        Self { io, received, watchdog, limits, born: now, idle_since: now, used: false }
    }

    /// Whether it has carried an exchange before.
    pub(super) fn is_reused(&self) -> bool {
        self.used
    }

    /// Marks the end of an exchange after which it may carry another.
    pub(super) fn rest(&mut self, now: Instant) {
        self.used = true;
        self.idle_since = now;
    }

    /// Whether it is young enough, and the upstream has neither closed it nor said anything unasked.
    ///
    /// The upstream's end shows as readable; a read that is pending costs no system call, because the
    /// last read did not fill its buffer and tokio remembers that.
    pub(super) fn is_fit(&mut self, now: Instant) -> bool {
        self.is_young(now)
            && self.received.is_empty()
            && self.poll_receive(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
    }

    pub(super) fn is_young(&self, now: Instant) -> bool {
        now.duration_since(self.idle_since) < MAX_IDLE_TIME && now.duration_since(self.born) < MAX_AGE
    }

    /// Sends a request and waits for the head of its answer; false beside it where that came before
    /// all of the request was written.
    pub(super) async fn exchange(
        &mut self,
        request: &mut Outgoing,
        limits: Limits,
        written: &AtomicBool,
    ) -> Result<(Head, bool), UpstreamError> {
        self.limits = limits;
        let complete = self.send(request, written).await?;
        self.expect_within(limits.head);
        let mut head = poll_fn(|cx| self.poll_head(cx, &request.method)).await?;
        head.keep_alive &= complete;
        Ok((head, complete))
    }

    /// Writes the request; false where the upstream answered before all of it was written.
    async fn send(&mut self, request: &mut Outgoing, written: &AtomicBool) -> Result<bool, UpstreamError> {
        // The first bytes leave in the same moment, or the system is full of others that do not.
        self.watchdog.set(self.limits.deadline.min(self.limits.start + self.limits.progress));
        self.write_first(&request.head.bytes, written).await?;
        match &mut request.body {
            OutgoingBody::Whole(body) => poll_fn(|cx| self.poll_write_all(cx, body)).await,
            OutgoingBody::Pieces(pieces) => poll_fn(|cx| self.poll_write_all(cx, pieces)).await,
            OutgoingBody::Stream { body, chunked, limit } => {
                let mut upload = Upload {
                    body: Pin::new(body),
                    chunked: *chunked,
                    limit: *limit,
                    sent: 0,
                    parts: Default::default(),
                    ended: false,
                };
                poll_fn(|cx| self.poll_upload(cx, &mut upload, &request.method)).await
            }
        }
    }

    /// Writes the head; a failure before the system took a byte of it proves that the upstream has
    /// nothing of this request.
    async fn write_first(&mut self, head: &[u8], written: &AtomicBool) -> Result<(), UpstreamError> {
        let first = poll_fn(|cx| {
            let written = self.poll_write(cx, &[IoSlice::new(head)]);
            self.or_timeout(cx, written, false)
        });
        let count = first.await?.map_err(|_| UpstreamError::NotWritten)?;
        written.store(true, Ordering::Relaxed);
        let mut rest = head.get(count..).unwrap_or_default();
        poll_fn(|cx| self.poll_write_all(cx, &mut rest)).await.map(drop)
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, data: &mut impl Buf) -> Poll<Result<bool, UpstreamError>> {
        if !ready!(self.poll_write_out(cx, data))? {
            return Poll::Ready(Ok(false));
        }
        self.poll_flush_out(cx)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>, data: &mut impl Buf) -> Poll<Result<bool, UpstreamError>> {
        while data.has_remaining() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = data.chunks_vectored(&mut slices);
            let written = self.poll_write(cx, slices.get(..count).unwrap_or_default());
            match ready!(self.or_timeout(cx, written, true))? {
                Ok(count) => {
                    data.advance(count);
                    self.expect_within(self.limits.progress);
                }
                // An upstream that has had enough may have answered before it closed.
                Err(_) => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// What TLS has taken it need not have written: without this, the last bytes of a request may stay with it.
    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, UpstreamError>> {
        let flushed = self.poll_flush(cx);
        Poll::Ready(Ok(ready!(self.or_timeout(cx, flushed, true))?.is_ok()))
    }

    /// Passes a streamed body on until it ends, or until the upstream answers before it ended.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<'_>,
        method: &Method,
    ) -> Poll<Result<bool, UpstreamError>> {
        loop {
            match self.poll_receive(cx) {
                Poll::Ready(Ok(count)) if count > 0 && take_head(&mut self.received.clone(), method)?.is_none() => {
                    continue;
                }
                Poll::Ready(_) => return Poll::Ready(Ok(false)),
                Poll::Pending => {}
            }
            if let Some(part) = upload.parts.iter_mut().find(|part| part.has_remaining()) {
                if !ready!(self.poll_write_out(cx, part))? {
                    return Poll::Ready(Ok(false));
                }
                continue;
            }
            if !ready!(self.poll_flush_out(cx))? {
                return Poll::Ready(Ok(false));
            }
            if upload.ended {
                return Poll::Ready(Ok(true));
            }
            match upload.body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.expect_within(self.limits.progress);
                    upload.stage(frame.into_data().unwrap_or_default())?;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(UpstreamError::CallerBody(error))),
                Poll::Ready(None) => upload.stage_end(),
                Poll::Pending => {
                    return match self.watchdog.poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Err(UpstreamError::CallerTimedOut)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, UpstreamError>> {
        loop {
            if let Some(head) = take_head(&mut self.received, method)? {
                return Poll::Ready(Ok(head));
            }
            let received = self.poll_receive(cx);
            match ready!(self.or_timeout(cx, received, true))? {
                Ok(0) | Err(_) => return Poll::Ready(Err(ProtocolError::Closed.into())),
                Ok(_) => {}
            }
        }
    }

    /// What of the body is here already.
    pub(super) fn take_body(&mut self, framing: &mut Framing) -> Result<Step, ProtocolError> {
        framing.take(&mut self.received)
    }

    /// The next piece of the body; `None` at its end.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        loop {
            match framing.take(&mut self.received) {
                Ok(Step::Data(data)) => {
                    // A body that is always there when it is asked for would never wait for the watchdog.
                    if self.expect_within(self.limits.progress) {
                        return Poll::Ready(Some(Ok(data)));
                    }
                    return Poll::Ready(Some(Err(UpstreamError::TimedOut { what: "answering", written: true })));
                }
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            let received = self.poll_receive(cx);
            match ready!(self.or_timeout(cx, received, true)) {
                Ok(Ok(0)) if matches!(framing, Framing::UntilClose) => return Poll::Ready(None),
                Ok(Ok(0) | Err(_)) => return Poll::Ready(Some(Err(ProtocolError::Closed.into()))),
                Ok(Ok(_)) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Gives the next step so much time; false where the time of the whole exchange is over.
    fn expect_within(&mut self, time: Duration) -> bool {
        let now = Instant::now();
        self.watchdog.set(self.limits.deadline.min(now + time));
        now < self.limits.deadline
    }

    fn or_timeout<T>(&mut self, cx: &mut Context<'_>, step: Poll<T>, written: bool) -> Poll<Result<T, UpstreamError>> {
        match step {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => match self.watchdog.poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(UpstreamError::TimedOut { what: "answering", written })),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.received.capacity() - self.received.len() < READ_SIZE / 2 {
            self.received.reserve(READ_SIZE);
        }
        match &mut self.io {
            Io::Plain(io) => pin!(io.read_buf(&mut self.received)).poll(cx),
            Io::Unix(io) => pin!(io.read_buf(&mut self.received)).poll(cx),
            Io::Tls(io) => pin!(io.read_buf(&mut self.received)).poll(cx),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, data),
            Io::Unix(io) => Pin::new(io).poll_write_vectored(cx, data),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, data),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Unix(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }
}

/// A body on its way: at most one frame of it, with the lines of its chunk around it.
struct Upload<'a> {
    body: Pin<&'a mut Incoming>,
    chunked: bool,
    limit: u64,
    sent: u64,
    parts: [Bytes; 3],
    ended: bool,
}

impl Upload<'_> {
    fn stage(&mut self, data: Bytes) -> Result<(), UpstreamError> {
        self.sent += data.len() as u64;
        if self.sent > self.limit {
            return Err(UpstreamError::CallerTooLarge { limit: self.limit });
        }
        // An empty chunk would end the body.
        if self.chunked && !data.is_empty() {
            let size = Bytes::from(format!("{:x}\r\n", data.len()));
            self.parts = [size, data, Bytes::from_static(b"\r\n")];
        } else {
            self.parts = [data, Bytes::new(), Bytes::new()];
        }
        Ok(())
    }

    fn stage_end(&mut self) {
        self.ended = true;
        if self.chunked {
            self.parts = [Bytes::from_static(b"0\r\n\r\n"), Bytes::new(), Bytes::new()];
        }
    }
}

const READ_SIZE: usize = 16 * 1024;
/// Written at a time: one write of a large body costs half of what many small ones do, most of it for waking
/// the reader.
const MAX_SLICES: usize = 64;
/// Shorter than the idle times of servers, so that a request seldom meets a closing connection.
const MAX_IDLE_TIME: Duration = Duration::from_secs(20);
/// So that a change in DNS is followed.
const MAX_AGE: Duration = Duration::from_secs(300);
